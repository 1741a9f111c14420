"""Builds yolo._C, and yolo/_cuda.so with the CUDA kernels where nvcc is found.

YOLO_CUDA=auto|1|0   build the CUDA kernels: if possible, or fail, or never
YOLO_CUDA_TARGETS    for which GPUs, as "80 90a", or "release" for all that a wheel should serve;
                     by default this machine's, without one 80 and 90a
YOLO_WERROR=1        compiler warnings are errors
"""

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
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
    "cpu/packed/conv_direct.cpp",
    "cpu/packed/conv_passes.cpp",
    "cpu/packed/conv_training.cpp",
    "cpu/packed/conv_winograd.cpp",
    "cpu/packed/depthwise_training.cpp",
    "cpu/packed/grouped_training.cpp",
    "cpu/packed/level_amx.cpp",
    "cpu/packed/level_amx_model.cpp",
    "cpu/packed/level_avx2.cpp",
    "cpu/packed/level_avx512.cpp",
    "cpu/packed/level_avx512bf16.cpp",
    "cpu/packed/level_portable.cpp",
    "cpu/packed/level_portable_bf16.cpp",
    "cpu/packed/levels.cpp",
    "cpu/packed/norm_training.cpp",
    "cpu/packed/mosaic.cpp",
    "cpu/packed/plan.cpp",
    "cpu/packed/planar.cpp",
    "cpu/packed/pointwise_training.cpp",
    "cpu/packed/pool_memory.cpp",
    "cpu/packed/spatial_training.cpp",
    "cpu/packed/tensor.cpp",
    "cpu/pool.cpp",
    "cpu/predicted.cpp",
    "cpu/reorg.cpp",
    "cpu/roi.cpp",
    "cpu/stretch.cpp",
    "cpu/threads.cpp",
    "cpu/update.cpp",
    "cpu/upsample.cpp",
    "packed_bindings.cpp",
    "training_bindings.cpp",
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


def cuda_compiler():
    """nvcc if the CUDA kernels are to be built, else None; YOLO_CUDA=1 makes its lack an error."""
    wanted = os.environ.get("YOLO_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"YOLO_CUDA={wanted}: choose from auto, 0, 1")
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=str(home / "bin"))
    if wanted == "1" and nvcc is None:
        raise SystemExit("YOLO_CUDA=1 but there is no nvcc on PATH or in CUDA_HOME")
    return None if wanted == "0" else nvcc


# sm_75 has the kernels in float and double; those for tensor cores begin with sm_80.
RELEASE = "75 80 86 89 90a 120"


def cuda_targets():
    """The GPUs to build for: YOLO_CUDA_TARGETS, by default this machine's, without one two."""
    named = os.environ.get("YOLO_CUDA_TARGETS")
    named = RELEASE if named == "release" else named
    if named is None and Path("/dev/nvidia0").exists():
        return ["-arch=native"]
    code = [f"arch=compute_{t},code=sm_{t}" for t in (named or "80 90a").split()]
    ahead = [] if named else ["arch=compute_80,code=compute_80"]  # later GPUs: from PTX
    return [f"-gencode={c}" for c in code + ahead]


def build_cuda(nvcc, folder, target):
    """csrc/cuda -> one shared library with the CUDA runtime inside, opened only when needed."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall", *cuda_targets()]
    read = [*(CSRC / "cuda").iterdir(), *CSRC.glob("*.h")]
    newest = max(path.stat().st_mtime for path in read)

    def compile_one(source):
        result = folder / f"{source.stem}.o"
        if not result.exists() or result.stat().st_mtime < newest:
            subprocess.run([nvcc, *flags, "-c", source, "-o", result], check=True)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sorted((CSRC / "cuda").glob("*.cu"))))
    subprocess.run([nvcc, "-shared", "-cudart=static", "-o", target, *objects], check=True)


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
        if nvcc := cuda_compiler():
            build_cuda(nvcc, Path(self.build_temp) / "cuda", self.cuda_library(ext))

    def cuda_library(self, ext):
        return Path(self.build_lib, *ext.name.split(".")[:-1]) / "_cuda.so"

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        for ext in self.extensions:
            if (library := self.cuda_library(ext)).exists():
                shutil.copy2(library, Path(ext.name.rpartition(".")[0].replace(".", "/")))

    def get_outputs(self):
        libraries = [self.cuda_library(ext) for ext in self.extensions]
        return [*super().get_outputs(), *(str(path) for path in libraries if path.exists())]


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
