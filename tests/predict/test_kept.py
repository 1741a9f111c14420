"""What is kept between predictions: noticed changes, threads, memory."""

import copy
import gc
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.predict.two_heads import micro, picture, same
from yolo import weights
from yolo.inference import inference
from yolo.ops import backend


def test_the_compiled_copy_is_kept_until_a_tensor_changes():
    net, image = micro(), picture()
    first, run = net.predict(image, thresh=0.1), inference(net)
    assert inference(net) is run
    with torch.no_grad():
        net.layers[0].weight.mul_(-1)
    assert inference(net) is not run
    changed = net.predict(image, thresh=0.1)
    assert not np.array_equal(changed.scores, first.scores)
    with torch.no_grad():
        net.layers[0].weight.mul_(-1)
    same(net.predict(image, thresh=0.1), first)


def test_statistics_weights_files_and_sizes_are_noticed(tmp_path):
    net, image = micro(), picture()
    first = net.predict(image, thresh=0.1)
    weights.save(micro(seed=1), tmp_path / "other.weights")
    weights.load(net, tmp_path / "other.weights")
    loaded = net.predict(image, thresh=0.1)
    same(loaded, micro(seed=1).predict(image, thresh=0.1))
    assert len(loaded) != len(first) or not np.array_equal(loaded.scores, first.scores)
    net.train()(torch.rand(2, 3, 32, 64))  # moves the rolling statistics, through our kernel
    net.eval()
    moved = net.predict(image, thresh=0.1)
    same(moved, copy.deepcopy(net).predict(image, thresh=0.1))
    net.resize(64, 64)
    same(net.predict(image, thresh=0.1), copy.deepcopy(net).predict(image, thresh=0.1))


def test_a_network_in_training_predicts_as_in_evaluation_and_stays_so():
    net, image = micro(), picture()
    wanted = net.predict(image, thresh=0.1)
    before = [t.clone() for t in net.state_dict().values()]
    net.train()
    same(net.predict(image, thresh=0.1), wanted)
    assert net.training
    torch.testing.assert_close(list(net.state_dict().values()), before, rtol=0, atol=0)


def test_the_twin_is_used_where_it_is_chosen_and_agrees():
    net, image = micro(), picture()
    native, run = net.predict(image, thresh=0.1), inference(net)
    with backend("torch"):
        assert inference(net) is not run
        same(net.predict(image, thresh=0.1), native, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["native", "torch"])
def test_eight_threads_on_one_network_find_what_one_does(name):
    net, images = micro(), [picture(30 + i, 40, i) for i in range(40)]

    def look(image):
        with backend(name):
            return net.predict(image, thresh=0.1)

    wanted = [look(image) for image in images]
    with torch.no_grad():
        net.layers[0].bias.mul_(1)  # counts as a change: the threads meet while compiling
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for a, b in zip(pool.map(look, images), wanted, strict=True):
                same(a, b)


def test_threads_with_batches_of_their_own_agree():
    net, images = micro(), [picture(30 + i, 40, i) for i in range(12)]
    wanted = [net.predict(image, thresh=0.1) for image in images]
    with ThreadPoolExecutor(8) as pool:
        several = pool.map(
            lambda batch: net.predict(images, thresh=0.1, batch=batch), [1, 2, 3, 4] * 4
        )
        for found in several:
            for a, b in zip(found, wanted, strict=True):
                same(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["native", "torch"])
def test_surroundings_make_no_difference(name):
    net, image = micro(), picture()
    with backend(name):
        with torch.inference_mode():  # what is compiled here serves the others
            wanted = net.predict(image, thresh=0.1)
        for around in (torch.enable_grad(), torch.no_grad(), torch.inference_mode(),
                       torch.autocast("cpu", torch.bfloat16)):  # fmt: skip
            with around:
                same(net.predict(image, thresh=0.1), wanted)
    assert torch.is_grad_enabled() and not net.training


def test_a_network_that_is_gone_leaves_nothing_behind():
    for make in (micro, lambda: micro().fused()):
        net = make()
        net.predict(picture())
        gone = weakref.ref(net)
        del net
        gc.collect()
        assert gone() is None


def resident():
    """Bytes of memory that this process occupies."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("resident memory is read from /proc, which this system lacks")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(count):
    net, images = micro(), [picture(20 + i, 30 + 2 * i, i) for i in range(10)]
    for i in range(60):
        net.predict(images[i % 10], thresh=0.05)
    gc.collect()
    before = resident()
    for i in range(count):
        net.predict(images[i % 10], thresh=0.05)
    gc.collect()
    return resident() - before


def test_memory_stays_flat():
    assert soak(300) < 4e6


@pytest.mark.long
def test_memory_stays_flat_over_ten_thousand_predictions():
    assert soak(10_000) < 4e6
