"""Registers, spills and shared memory of every CUDA kernel, as ptxas reports them.

    python benchmarks/cuda_resources.py            print the table; status 1 if a kernel spills
    python benchmarks/cuda_resources.py --write    and rewrite benchmarks/CUDA_RESOURCES.md
    python benchmarks/cuda_resources.py --targets "75 86 89 120"    the others of a release

Needs nvcc, no GPU.  Shared memory is the static part; the tensor-core kernels ask for more.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "CUDA_RESOURCES.md"
TARGETS = "80 90a"
HEADER = """# Resources of the CUDA kernels

Written by `python benchmarks/cuda_resources.py --write`: registers a thread / bytes of spills /
bytes of static shared memory. A spill fails the check.

"""
KERNEL = re.compile(r"Compiling entry function '(\w+)'")
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def compile_one(source, target):
    """[(mangled kernel, registers, bytes of spills, bytes of shared memory)]"""
    with tempfile.TemporaryDirectory() as folder:
        command = ["nvcc", "-std=c++17", "-O3", f"-arch=sm_{target}", "-cubin", "-Xptxas=-v"]
        done = subprocess.run(
            [*command, str(source), "-o", f"{folder}/out.cubin"], capture_output=True, text=True
        )
    if done.returncode:
        raise SystemExit(f"{source}: {done.stderr}")
    found, name, spills = [], None, 0
    for line in (done.stdout + done.stderr).splitlines():
        if match := KERNEL.search(line):
            name = match[1]
        elif match := SPILLS.search(line):
            spills = int(match[1]) + int(match[2])
        elif (match := USED.search(line)) and name:
            found.append((name, int(match[1]), spills, int(match[2] or 0)))
            name = None
    return found


def readable(names):
    """gather_kernel<Bf16, 128> from what the compiler calls it."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True)
    short = []
    for name in done.stdout.splitlines():
        name = re.sub(r"\(anonymous namespace\)::|tensor_tile::|_GLOBAL__N_\w+::", "", name)
        name = re.sub(r"\((?:int|bool)\)", "", name.split("(", 1)[0] if "<" not in name else name)
        short.append(re.sub(r">\(.*", ">", name).removeprefix("void ").split("(")[0])
    return short


def table(targets):
    """Markdown of all kernels, and the names of those that spill."""
    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    jobs = [(source, target) for source in sources for target in targets]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: compile_one(*job), jobs))
    rows, spilling = {}, []
    for (source, target), kernels in zip(jobs, results, strict=True):
        for name, kernel in zip(readable([k[0] for k in kernels]), kernels, strict=True):
            rows.setdefault((source.name, name), {})[target] = kernel[1:]
            if kernel[2]:
                spilling.append(f"{name} for sm_{target}")
    lines = [f"| file | kernel | {' | '.join(f'sm_{t}' for t in targets)} |"]
    lines.append("| --- | --- |" + " --: |" * len(targets))
    for (file, name), by_target in sorted(rows.items()):
        cells = (" / ".join(map(str, by_target.get(t, ()))) for t in targets)
        lines.append(f"| {file} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n", spilling


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"rewrite {TABLE.name}")
    parser.add_argument("--targets", default=TARGETS, help=f"of nvcc, default: {TARGETS}")
    args = parser.parse_args()
    if args.write and args.targets != TARGETS:
        parser.error(f"the table that is written has the targets {TARGETS}")
    text, spilling = table(args.targets.split())
    print(text)
    if args.write:
        TABLE.write_text(HEADER + text)
    if spilling:
        sys.exit("these kernels spill: " + ", ".join(spilling))


if __name__ == "__main__":
    main()
