"""Threads and the borrowed BLAS: any count, forks, several callers, and nothing left set."""

import ctypes
import multiprocessing
import os
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from yolo.ops import backend, conv2d, current_backend
from yolo.ops.native import _thread_controls, library

X = torch.randn(2, 16, 40, 40)
WEIGHT = torch.randn(24, 16, 3, 3)


def close():
    torch.testing.assert_close(
        conv2d(X, WEIGHT, padding=1), F.conv2d(X, WEIGHT, padding=1), rtol=1e-4, atol=1e-4
    )


def blas_threads():
    get, _ = _thread_controls()
    if not get:
        pytest.skip("SciPy's BLAS is not OpenBLAS here")
    return ctypes.CFUNCTYPE(ctypes.c_int)(get)()


def test_thread_count_may_change(with_threads):
    for count in (1, 4, 2, 7, 1):
        with_threads(count)
        close()
    assert library().pool_size() >= 6


def test_blas_threads_are_left_as_they_were():
    before = blas_threads()
    close()
    assert blas_threads() == before


def test_several_callers(with_threads):
    with_threads(2)
    errors = []

    def work():
        try:
            for _ in range(20):
                close()
        except Exception as error:
            errors.append(error)

    callers = [threading.Thread(target=work) for _ in range(4)]
    before = blas_threads()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not errors and not any(c.is_alive() for c in callers)
    assert blas_threads() == before


def in_child(queue, expected):
    """Our threads, and no operator of PyTorch's: its OpenMP does not survive a fork."""
    try:
        torch.set_num_threads(2)
        y = conv2d(X, WEIGHT, padding=1).numpy()
        queue.put(float(np.abs(y - expected).max()))
    except Exception as error:
        queue.put(repr(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_after_fork(with_threads):
    """A forked loader worker has none of the parent's threads and must not wait for them."""
    with_threads(3)
    expected = F.conv2d(X, WEIGHT, padding=1).numpy()
    close()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [
        context.Process(target=in_child, args=(queue, expected), daemon=True) for _ in range(2)
    ]
    for child in children:
        child.start()
    answers = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    assert all(isinstance(a, float) and a <= 1e-4 for a in answers), answers
    close()


def test_backend_is_per_thread_and_restored():
    seen = []
    with backend("torch"):
        other = threading.Thread(target=lambda: seen.append(current_backend()))
        other.start()
        other.join()
        assert current_backend() == "torch"
    assert seen == ["native"] and current_backend() == "native"
    with pytest.raises(RuntimeError), backend("torch"):
        raise RuntimeError
    assert current_backend() == "native"
    with pytest.raises(ValueError, match="unknown name 'cuda'; choose from native, torch"):
        backend("cuda").__enter__()
