"""What an AVX-512 instruction costs beside multiply-adds that keep their units busy.

    python benchmarks/beside_fma.py

A tile of 2 x 14 sums, as csrc/cpu/packed/tile.h has them, steps over its input in the first-level
cache; after the middle of each step comes one more instruction. Its cost is the time it adds, in
multiply-adds: 0 where another unit takes it. Needs a C++ compiler; takes a few seconds.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import header

STEPS, PIXELS = 16, 14
OLD, FRESH, FREE = 31, 12, 30  # registers: loaded before the loop, the sum just computed, unused
INSTRUCTIONS = {
    "multiplication": f"vmulps %%zmm{OLD},%%zmm{OLD},%%zmm{FREE}",
    "addition": f"vaddps %%zmm{OLD},%%zmm{OLD},%%zmm{FREE}",
    "maximum": f"vmaxps %%zmm{OLD},%%zmm{OLD},%%zmm{FREE}",
    "rounding": f"vrndscaleps $1,%%zmm{OLD},%%zmm{FREE}",
    "reduce": f"vreduceps $0x41,%%zmm{OLD},%%zmm{FREE}",
    "scalef": f"vscalefps %%zmm{OLD},%%zmm{OLD},%%zmm{FREE}",
    "permutation": f"vpermps %%zmm{OLD},%%zmm{OLD},%%zmm{FREE}",
    "shift": f"vpslld $19,%%zmm{OLD},%%zmm{FREE}",
    "reciprocal of 14 bits": f"vrcp14ps %%zmm{OLD},%%zmm{FREE}",
    "division": f"vdivps %%zmm{OLD},%%zmm{OLD},%%zmm{FREE}",
    "store of a sum just computed": f"vmovups %%zmm{FRESH},(%2)",
    "store of an older value": f"vmovups %%zmm{OLD},(%2)",
}
PROGRAM = """
#include <cstdio>
#include <ctime>
alignas(64) static float x[16 * 64], w[32 * 16], y[16];
static double now() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}
template <class F>
static double least(F run) {
    double best = 1e18;
    for (int r = 0; r < 60; ++r) {
        const double start = now();
        for (int i = 0; i < 2000; ++i) run();
        const double time = now() - start;
        if (time < best) best = time;
    }
    return best;
}
int main() {
    for (float& f : x) f = 1e-3f;
    for (float& f : w) f = 1.37f;
"""
CLOBBERED = ", ".join(f'"zmm{i}"' for i in range(32))


def loop(instruction=""):
    """C++: the least time of the steps with the instruction in each."""
    lines = [f"vmovups (%1),%%zmm{OLD}"]
    for step in range(STEPS):
        lines += [f"vmovups {128 * step + 64 * k}(%1),%%zmm{28 + k}" for k in (0, 1)]
        for p in range(PIXELS):
            x = f"{64 * p + 4 * step}(%0)%{{1to16%}}"
            lines += [f"vfmadd231ps {x},%%zmm{28 + k},%%zmm{2 * p + k}" for k in (0, 1)]
            if instruction and p == FRESH // 2:
                lines.append(instruction)
    text = "".join(f'"{line}\\n"\n' for line in lines)
    return (
        f'least([] {{ asm volatile({text} : : "r"(x), "r"(w), "r"(y) : "memory", {CLOBBERED}); }})'
    )


def main():
    compiler = shutil.which("c++") or sys.exit("needs a C++ compiler, `c++`")
    if "avx512dq" not in Path("/proc/cpuinfo").read_text():
        sys.exit("needs a processor with AVX-512")
    body = f"    const double alone = {loop()};\n"
    for name, instruction in INSTRUCTIONS.items():
        cost = f"({loop(instruction)} / alone - 1) * {2 * PIXELS}"
        body += f'    std::printf("| %s | %.2f |\\n", "{name}", {cost});\n'
    print(header(1))
    print("| instruction | multiply-adds |\n| --- | --: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "beside.cpp", Path(folder) / "beside"
        source.write_text(PROGRAM + body + "}\n")
        flags = "-std=c++17", "-O1", "-mavx512f", "-mavx512dq"
        subprocess.run([compiler, *flags, source, "-o", program], check=True)
        subprocess.run([program], check=True)


if __name__ == "__main__":
    main()
