"""yolo._C, ready for use: loaded, given SciPy's BLAS, and its cached sizes and plans."""

import contextlib
import ctypes
import functools
import glob
import sys
import threading
from pathlib import Path

BUILD_HINT = (
    "yolo._C, the compiled kernels, cannot be loaded ({error}).\n"
    "Build it with `pip install .`, or in a checkout `python setup.py build_ext --inplace`; "
    "a C++17 compiler is all it needs.\n"
    'yolo.ops.backend("torch") computes with PyTorch\'s own operators instead.'
)


@functools.cache
def library():
    """The module yolo._C; an ImportError that says how to build it where it is missing."""
    try:
        from yolo import _C
    except ImportError as error:
        raise ImportError(BUILD_HINT.format(error=error)) from error
    _C.use_blas(*_gemm_addresses(), *_thread_controls())
    return _C


def _gemm_addresses():
    """Addresses of Fortran sgemm and dgemm, which SciPy publishes for use by others."""
    from scipy.linalg import cython_blas

    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsules = [cython_blas.__pyx_capi__[name] for name in ("sgemm", "dgemm")]
    return [api.PyCapsule_GetPointer(c, api.PyCapsule_GetName(c)) for c in capsules]


def _thread_controls():
    """Addresses of get and set_num_threads in SciPy's OpenBLAS, or (0, 0) if it is another BLAS.

    Without them our threads must not call BLAS side by side, since each call may start threads.
    """
    for path in _scipy_blas_files():
        blas = ctypes.CDLL(path)
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("", "64_", "_64"):
                names = [f"{prefix}_{verb}_num_threads{suffix}" for verb in ("get", "set")]
                if all(hasattr(blas, name) for name in names):
                    return [ctypes.cast(blas[name], ctypes.c_void_p).value for name in names]
    return 0, 0


def _scipy_blas_files():
    """Files of SciPy's BLAS: what its wheel brings, else what the process has loaded."""
    import scipy

    root = Path(scipy.__file__).parent
    folders = (root.parent / "scipy.libs", root / ".dylibs", root / ".libs")
    own = [p for folder in folders for p in glob.glob(str(folder / "*openblas*"))]
    if own or not sys.platform.startswith("linux"):
        return own
    with open("/proc/self/maps") as maps:
        loaded = {line.split()[-1] for line in maps if "openblas" in line or "libblas" in line}
    return sorted(path for path in loaded if path.startswith("/") and "numpy" not in path)


class _Kernels(threading.local):
    threads = 0  # that kernels may use; 0: as PyTorch is set


_kernels = _Kernels()


def threads():
    """Threads that a kernel may use now, as PyTorch is set."""
    import torch

    return _kernels.threads or torch.get_num_threads()


@contextlib.contextmanager
def torch_alone():
    """PyTorch's operators compute on the calling thread alone, our kernels as before.

    For many operators on few values: each would call PyTorch's threads, which then watch for more
    work for milliseconds and take the cores from the kernels that follow."""
    import torch

    openmp, mkl = _torch_threads()
    before = torch.get_num_threads(), _kernels.threads
    _kernels.threads = threads()
    openmp(1)
    mkl_before = mkl(1)
    try:
        yield
    finally:
        openmp(before[0])
        mkl(mkl_before)
        _kernels.threads = before[1]


@functools.cache
def _torch_threads():
    """Set how many threads PyTorch's OpenMP and its MKL use on behalf of the calling thread alone;
    that of MKL returns what it was. Where OpenMP's is not found, it is that of the process, which
    threads that begin meanwhile would keep."""
    import torch

    folder = Path(torch.__file__).parent / "lib"
    openmp = [ctypes.CDLL(path).omp_set_num_threads for path in folder.glob("libgomp*")]
    mkl = [
        ctypes.CDLL(path).MKL_Set_Num_Threads_Local
        for path in folder.glob("libtorch_cpu*")
        if hasattr(ctypes.CDLL(path), "MKL_Set_Num_Threads_Local")
    ]
    return (*openmp, torch.set_num_threads)[0], (*mkl, lambda count: count)[0]


def blas_threads():
    """The same for kernels that call BLAS: 1 where its own threads cannot be held back."""
    return library().blas_width(threads())


@functools.cache
def activation_codes():
    """What kernels call each of NATIVE_ACTIVATIONS."""
    return dict(library().Activation.__members__)


@functools.lru_cache(4096)
def native_conv_shape(shape):
    return library().ConvShape(shape[:9], *shape[9:])


@functools.lru_cache(4096)
def native_pool_shape(shape):
    return library().PoolShape(shape[:6], *shape[6:])


@functools.lru_cache(4096)
def conv_plan(shape, name, threads):
    """How `threads` threads compute the pass `name` of this ConvShape."""
    module = library()
    return module.choose(native_conv_shape(shape), getattr(module.Pass, name), threads)
