"""The emulated kernels under sanitizers: bounds and undefined behaviour, then races of threads.

Races are looked for in the kernels alone: the emulator is not instrumented, but tells the thread
sanitizer of every switch between CUDA threads and of every barrier.
"""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "EMULATOR_ASAN"),
    "thread": ("-fsanitize=thread", "EMULATOR_TSAN"),
}


def compile_program(folder, name):
    flag, macro = SANITIZERS[name]
    flags = ["-std=c++17", "-O1", "-g", "-DYOLO_EMULATOR", f"-D{macro}", "-fno-omit-frame-pointer"]
    tests = [ROOT / "tests" / "cuda" / name for name in ("probe.cu", "sanitize.cpp")]
    kernels = [*(ROOT / "csrc" / "cuda").glob("*.cu"), *tests]
    emulator = list((ROOT / "csrc" / "emulator").glob("*.cpp"))
    running, objects = [], []
    for source in [*kernels, *emulator]:
        watched = [flag] if name == "address" or source in kernels else []
        objects.append(folder / f"{source.name}.o")
        command = ["g++", *flags, *watched, "-x", "c++", "-c", source, "-o", objects[-1]]
        running.append(subprocess.Popen(command))
        if len(running) % 2 == 0:
            assert all(process.wait() == 0 for process in running)
    assert all(process.wait() == 0 for process in running)
    program = folder / "program"
    subprocess.run(["g++", flag, "-o", program, *objects], check=True)
    return program


def run(program, *arguments):
    fixed = ["setarch", platform.machine(), "-R"] if shutil.which("setarch") else []
    environment = {"TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=0"}
    command = [*fixed, str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SANITIZERS)
def test_kernels_are_clean(tmp_path, name):
    if shutil.which("g++") is None:
        pytest.skip("no g++ to build the emulator with")
    program = compile_program(tmp_path, name)
    done = run(program, *(["once"] if name == "thread" else []))
    assert done.returncode == 0 and "clean" in done.stdout, done.stderr[-3000:]
    assert "runtime error" not in done.stderr
    if name == "thread":  # and it would have seen a missing barrier
        race = run(program, "race")
        assert race.returncode != 0 and "data race" in race.stderr
