"""The server under load: images a second, how long an answer takes, and its memory.

    python benchmarks/bench_serve.py yolov4-tiny.cfg yolov4-tiny.weights dog.jpg
    python benchmarks/bench_serve.py yolov4-tiny.cfg yolov4-tiny.weights dog.jpg --batch 4

One image is sent again and again over a number of connections by wrk, which shares the machine
with the server. Refused are answers other than 200: beyond the 32 that wait 503, at once.
Percentiles are those of all answers together. Memory is what /metrics says twice a second: its
least and its most in a round, after one that warms up.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import torch
from timing import header

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 3  # seconds
# wrk's script: sends the image, and says in JSON what came back. Its times are microseconds.
SCRIPT = """
wrk.method = "POST"
local file = io.open(%s, "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  local lost = summary.errors
  io.write(string.format(
    '{"answers": %%d, "refused": %%d, "lost": %%d, "seconds": %%f, "p50": %%f, "p99": %%f}\\n',
    summary.requests, lost.status, lost.connect + lost.read + lost.write + lost.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cfg")
    parser.add_argument("weights")
    parser.add_argument("image")
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--seconds", type=int, default=10, help="of each round")
    parser.add_argument("--batch", type=int, default=1, help="that of serve")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.exit(1, "wrk not found; install it: apt install wrk, or brew install wrk\n")
    print(header(torch.get_num_threads()))
    print(f"# {Path(args.cfg).stem}, {Path(args.image).name}, batch {args.batch}")
    print("connections  images/s  refused/s  lost  50 % within  99 % within  memory")
    with served(args.cfg, args.weights, args.batch) as url, script(args.image) as path:
        drive(url, path, max(args.connections), WARM_UP)
        for count in args.connections:
            with memory(url) as seen:
                found = drive(url, path, count, args.seconds)
            row(count, found, seen)


@contextmanager
def served(cfg, weights, batch):
    """Address of a server of its own."""
    command = [sys.executable, "-m", "yolo", "serve", cfg, weights, "--port", "0"]
    command += ["--batch", str(batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            if not line:  # it has said why
                sys.exit(server.wait())
            yield line.split()[0]
        finally:
            server.terminate()


@contextmanager
def script(image):
    """wrk's script in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "post.lua"
        path.write_text(SCRIPT % json.dumps(str(Path(image).resolve())))
        yield path


def drive(url, path, connections, seconds):
    """What wrk's script says."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["-s", str(path), f"{url}/detect"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"wrk: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def memory(url):
    """[resident bytes of the server], twice a second while the block lasts."""
    seen, over = [], threading.Event()

    def watch():
        while not over.wait(0.5):
            with urlopen(f"{url}/metrics", timeout=60) as answer:
                text = answer.read().decode()
            seen.append(float(text.split("\nprocess_resident_memory_bytes ")[1].split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def row(connections, found, seen):
    images = (found["answers"] - found["refused"]) / found["seconds"]
    print(
        f"{connections:11d} {images:9.1f} {found['refused'] / found['seconds']:10.1f} "
        f"{found['lost']:5d} {found['p50']:9.0f} ms {found['p99']:9.0f} ms  "
        f"{min(seen) / 2**20:.0f} to {max(seen) / 2**20:.0f} MiB",
        flush=True,
    )


if __name__ == "__main__":
    main()
