"""Trains data sets with and without an interruption and compares the curves bit for bit.

    python benchmarks/interrupted_training.py bccd=../shared/data/bccd/bccd.data --iterations 60

For each data set and seed two runs of the same command: one to the end, one that gets a real signal
in the middle and goes on with --resume. Every other seed is killed (SIGKILL), so that the run falls
back to its last checkpoint; the others are asked to stop (SIGTERM, SIGINT). Equal must be: the
bytes of the final weights, and every column of metrics.csv but the times. Writes OUT/interrupted.md
and .json; exits with 1 where anything differs.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TIMES = ("seconds", "wait_seconds", "images_per_second")
HEAD = "| data | seed | signal | stopped after | went on from | last loss | mAP | equal |"


def main():
    args = arguments()
    rows = []
    for name, data in args.sets:
        for number in range(args.seeds):
            rows.append(compare(args, name, data, number))
            print(rows[-1], flush=True)
    table = "\n".join([HEAD, "|" + "---|" * 8, *(line(row) for row in rows)])
    (args.out / "interrupted.md").write_text(table + "\n")
    (args.out / "interrupted.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table)
    return 0 if all(row["equal"] for row in rows) else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=FILE.data", type=named)
    parser.add_argument("--cfg", type=Path, default=ROOT / "cfg" / "yolov4-tiny.cfg")
    parser.add_argument("--out", type=Path, default=Path("runs/interrupted"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--save-every", type=int, default=10)
    parser.add_argument("--size", type=int, default=224, help="width and height")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--subdivisions", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--map", action="store_true", help="measure mAP at the end")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="keys")
    return parser.parse_args()


def named(text):
    name, _, path = text.partition("=")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=FILE.data of an existing file")
    return name, Path(path)


def compare(args, name, data, seed):
    """One row of the table."""
    number = SIGNALS[seed % len(SIGNALS)]
    folders = [args.out / f"{name}-{seed}-{kind}" for kind in ("whole", "interrupted")]
    started = time.perf_counter()
    finish([*command(args, data, seed, folders[0]), "--fresh"])
    whole = time.perf_counter() - started
    words = command(args, data, seed, folders[1])
    stopped = interrupt([*words, "--fresh"], folders[1], args.iterations // 2 + 3, number)
    said = finish([*words, "--resume"])
    origin = next(text for text in said.splitlines() if text.startswith("going on from"))
    curves = [curve(folder) for folder in folders]
    final = [(folder / f"{args.cfg.stem}_final.weights").read_bytes() for folder in folders]
    return {
        "data": name,
        "seed": seed,
        "signal": number.name,
        "stopped": stopped,
        "from": int(origin.rsplit(" ", 1)[1]),
        "loss": float(curves[0][-1]["avg_loss"]),
        "map": curves[0][-1]["map"],
        "seconds": round(whole),
        "equal": curves[0] == curves[1] and final[0] == final[1] and len(curves[0]) > 0,
    }


def command(args, data, seed, out):
    flags = {
        "--data": data,
        "--out": out,
        "--seed": seed,
        "--iterations": args.iterations,
        "--save-every": args.save_every,
        "--width": args.size,
        "--height": args.size,
        "--batch": args.batch,
        "--subdivisions": args.subdivisions,
        "--workers": args.workers,
        "--classes": classes(data),
    }
    keys = ["mosaic=1", "burn_in=20", *args.keys]
    made = [sys.executable, "-m", "yolo", "train", str(args.cfg)]
    made += [str(word) for pair in flags.items() for word in pair]
    made += [word for key in keys for word in ("--set", key)]
    return made + ["--map"] * args.map


def classes(data):
    for text in data.read_text().splitlines():
        key, _, value = text.partition("=")
        if key.strip() == "classes":
            return int(value)
    raise SystemExit(f"{data}: has no line classes=")


def start(words):
    return subprocess.Popen(
        words, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )


def finish(words):
    """Runs a command to its end; gives what it said."""
    process = start(words)
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with {process.returncode}")
    return said


def interrupt(words, folder, after, number):
    """Sends the signal after so many iterations; gives how many were booked in the end."""
    (folder / "metrics.csv").unlink(missing_ok=True)
    process = start(words)
    while booked(folder) < after:
        if process.poll() is not None:
            raise SystemExit(f"{' '.join(words)}\nended with {process.returncode} too early")
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate()
    expected = -number if number == signal.SIGKILL else 128 + number
    if process.returncode != expected:
        raise SystemExit(f"{number.name}: exit code {process.returncode}, expected {expected}")
    return booked(folder)


def booked(folder):
    """Iterations in metrics.csv."""
    path = folder / "metrics.csv"
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0


def curve(folder):
    """Rows of metrics.csv without the times."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def line(row):
    map_ = f"{100 * float(row['map']):.2f} %" if row["map"] else "-"
    return (
        f"| {row['data']} | {row['seed']} | {row['signal']} | {row['stopped']} | {row['from']} | "
        f"{row['loss']:.4f} | {map_} | {'yes' if row['equal'] else 'NO'} |"
    )


if __name__ == "__main__":
    sys.exit(main())
