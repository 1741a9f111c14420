"""Training steps of two checkouts, each with its own build, in turns: what a change brought.

    git worktree add ../before COMMIT, build it there, then
    python benchmarks/race_builds.py ../before . yolov4-tiny:416:8 --rounds 30

Each side is a process of its own that steps when it is told to, every second round in the opposite
order. On a machine that others use too, the ratio of neighbouring steps tells more than any time.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

SIDE = """
import sys, time, torch
sys.path.insert(0, "benchmarks")
from training_step import Step
torch.set_num_threads(int(sys.argv[2]))
name, size, batch = sys.argv[1].split(":")
step = Step("ours", name, int(size), int(batch))
for _ in range(3):
    step()
print(flush=True)
for _ in sys.stdin:
    start, used = time.perf_counter(), time.process_time()
    step()
    print(time.perf_counter() - start, time.process_time() - used, flush=True)
"""


def start(root, network, threads):
    command = [sys.executable, "-c", SIDE, network, str(threads)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(root.resolve())}
    side = subprocess.Popen(command, cwd=root, env=environment, **pipes)
    if not side.stdout.readline():
        sys.exit(f"{root}: its step does not run (above)")
    return side


def step(side):
    """(seconds, processor seconds)"""
    side.stdin.write("\n")
    side.stdin.flush()
    return tuple(map(float, side.stdout.readline().split()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("roots", nargs=2, type=Path, metavar="checkout")
    parser.add_argument("network", metavar="cfg:size:batch")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    sides = [start(root, args.network, args.threads) for root in args.roots]
    rounds = []
    for number in range(args.rounds):
        order = (0, 1) if number % 2 else (1, 0)
        rounds.append(dict(sorted((i, step(sides[i])) for i in order)))
    for side in sides:
        side.stdin.close()
    for i, root in enumerate(args.roots):
        wall, used = ([1e3 * r[i][k] for r in rounds] for k in (0, 1))
        print(f"{root}: least {min(wall):.0f} ms, median {statistics.median(wall):.0f}; "
              f"of the processor {min(used):.0f}, {statistics.median(used):.0f}")  # fmt: skip
    quartiles = statistics.quantiles([r[0][0] / r[1][0] for r in rounds])
    print("first / second {1:.3f} (quartiles {0:.3f}, {2:.3f})".format(*quartiles))


if __name__ == "__main__":
    main()
