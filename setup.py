"""Builds yolo._C: C++ always, CUDA where csrc/cuda has sources and nvcc is found.

YOLO_CUDA=auto|1|0   build the CUDA part: if possible, or fail, or never
YOLO_WERROR=1        compiler warnings are errors
"""

import os
import platform
import shutil
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

CSRC = Path("csrc")
SOURCES = [
    "bindings.cpp",
    "choose.cpp",
    "cpu/activation.cpp",
    "cpu/blas.cpp",
    "cpu/columns.cpp",
    "cpu/conv_depthwise.cpp",
    "cpu/conv_im2col.cpp",
    "cpu/isa.cpp",
    "cpu/norm_act.cpp",
    "cpu/packed/level_avx2.cpp",
    "cpu/packed/level_avx512.cpp",
    "cpu/packed/level_portable.cpp",
    "cpu/packed/levels.cpp",
    "cpu/packed/plan.cpp",
    "cpu/pool.cpp",
    "cpu/reorg.cpp",
    "cpu/threads.cpp",
    "cpu/upsample.cpp",
    "packed_bindings.cpp",
]
# Compiled once for each instruction set, with ISA as the name of its namespace.
ISA_SOURCES = ["cpu/rows.cpp"]
ISA_FLAGS = {"base": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    AVX2 = ["-mavx2", "-mfma", "-mbmi2"]
    AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"]
    ISA_FLAGS |= {"avx2": AVX2, "avx512": AVX2 + AVX512}

FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Wno-unknown-pragmas"]
if os.environ.get("YOLO_WERROR") == "1":
    FLAGS.append("-Werror")


def paths(names):
    return [str(CSRC / name) for name in names]


def cuda_sources():
    """The .cu files to build, or none; YOLO_CUDA=1 makes a missing nvcc an error."""
    wanted = os.environ.get("YOLO_CUDA", "auto")
    sources = sorted(str(path) for path in (CSRC / "cuda").glob("*.cu"))
    if wanted == "0" or not sources:
        return []
    if shutil.which("nvcc"):
        return sources
    if wanted == "1":
        raise SystemExit("YOLO_CUDA=1 but there is no nvcc on PATH")
    return []


class Build(build_ext):
    """Adds the objects that need flags of their own to the extension."""

    def build_extension(self, ext):
        for isa, flags in ISA_FLAGS.items():
            # products and sums may become one instruction, which ISO mode forbids by default
            ext.extra_objects += self.compiler.compile(
                paths(ISA_SOURCES),
                output_dir=str(Path(self.build_temp) / isa),
                macros=[("ISA", isa)],
                extra_postargs=[*FLAGS, "-std=c++17", "-ffp-contract=fast", *flags],
                depends=ext.depends,
            )
        super().build_extension(ext)


extension = Pybind11Extension(
    "yolo._C",
    paths(SOURCES),
    cxx_std=17,
    extra_compile_args=FLAGS,
    extra_link_args=["-pthread"],
    depends=[str(path) for path in CSRC.rglob("*") if path.suffix in (".h", ".cuh", ".cpp", ".cu")],
)

with ParallelCompile():
    setup(ext_modules=[extension], cmdclass={"build_ext": Build})
