"""Several ranks leave the weights of one process: gradients are those of the whole batch."""

import json

import pytest
import torch
from safetensors.torch import load_file

# Dropout draws other numbers on each rank; a mini-batch holds an image for each of four.
NO_CHANCE = [("probability=0.2", "probability=0"), ("batch=4", "batch=8")]
PLAIN = [*NO_CHANCE, ("batch_normalize=1", "batch_normalize=0")]
SETTINGS = {
    "plain": dict(changes=PLAIN),
    "sync_bn": dict(changes=NO_CHANCE, sync_bn=True),
    "sizes": dict(changes=[*PLAIN, ("random=0", "random=1")], iterations=12),
    "adam": dict(changes=[*PLAIN, ("learning_rate=0.01", "learning_rate=0.001\nadam=1")]),
    "average": dict(changes=[*PLAIN, ("learning_rate=0.01", "learning_rate=0.01\nema_alpha=0.9")]),
    "frozen": dict(changes=[*PLAIN, ("stride=8", "stride=8\nstopbackward=2")]),
}


def left(folder, rank=0):
    """(tensors, facts) of one rank."""
    facts = json.loads((folder / f"{rank}.json").read_text())
    return load_file(folder / f"{rank}.safetensors"), facts


def assert_close(one, two, bound=1e-5):
    """Equal but for the order of sums."""
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if name != "metrics":
            error = (tensor - two[name]).abs().max().item()
            assert error <= bound * (1 + tensor.abs().max().item()), (name, error)


EVERYDAY = [("plain", 2), ("plain", 4), ("sync_bn", 2), ("sync_bn", 4), ("sizes", 2)]
EVERY = [
    pytest.param(settings, ranks, marks=() if (settings, ranks) in EVERYDAY else pytest.mark.long)
    for settings in SETTINGS
    for ranks in (2, 4)
]


@pytest.mark.parametrize("settings, ranks", EVERY)
def test_the_weights_of_one_process(together, settings, ranks):
    alone, alone_facts = left(together(1, "train", **SETTINGS[settings]))
    folder = together(ranks, "train", **SETTINGS[settings])
    first, facts = left(folder)
    assert_close(alone, first)
    assert facts["loss"] == pytest.approx(alone_facts["loss"], rel=1e-4)
    assert facts["heads"].keys() == alone_facts["heads"].keys()
    for rank in range(1, ranks):
        others = left(folder, rank)[0]
        for name, tensor in first.items():
            assert name == "metrics" or torch.equal(tensor, others[name]), name


def test_own_statistics_differ_but_the_ranks_agree(together):
    alone, _ = left(together(1, "train", changes=NO_CHANCE))
    folder = together(2, "train", changes=NO_CHANCE)
    first, second = left(folder)[0], left(folder, 1)[0]
    assert (alone["net.layers.0.weight"] - first["net.layers.0.weight"]).abs().max() > 1e-4
    assert torch.equal(first["net.layers.0.rolling_var"], second["net.layers.0.rolling_var"])


def test_every_image_once_whatever_the_number_of_ranks(together):
    given = [[], []]
    for part, ranks in enumerate((1, 3)):
        folder = together(ranks, "train", changes=PLAIN)
        for rank in range(ranks):
            given[part] += left(folder, rank)[1]["given"]
    assert sorted(given[0]) == sorted(given[1]) == list(range(32))


@pytest.mark.parametrize("ranks", [(2, 4), (4, 1), (1, 2)])
def test_a_training_goes_on_with_another_number_of_ranks(together, ranks):
    settings = dict(changes=NO_CHANCE, sync_bn=True)
    alone, _ = left(together(1, "train", iterations=6, **settings))
    begun = together(ranks[0], "train", iterations=3, **settings)
    path = str(begun / "micro.ckpt")
    ended = together(ranks[1], "train", iterations=6, checkpoint=path, **settings)
    found, facts = left(ended)
    assert_close(alone, found)
    assert facts["position"] == 48


@pytest.mark.parametrize("spoil", [[13], [14]])
def test_a_number_that_is_not_finite_ends_or_skips_the_iteration_on_all(together, spoil):
    for sync in (False, True):
        settings = dict(spoil=spoil, on_nan="skip", sync_bn=sync)
        folder = together(2, "train", changes=NO_CHANCE, **settings)
        assert (folder / "micro_nonfinite_2.safetensors").is_file()
        first, facts = left(folder)
        assert f"{spoil[0]}.jpg" in facts["said"][0]
        assert "layer 0" in facts["said"][0]
        assert torch.equal(first["net.layers.0.weight"], left(folder, 1)[0]["net.layers.0.weight"])
    together(2, "train", codes=[1, 1], changes=NO_CHANCE, spoil=spoil)


def test_bf16_on_the_wire_is_near(together):
    exact, _ = left(together(2, "train", changes=PLAIN))
    rough, _ = left(together(2, "train", changes=PLAIN, bf16_gradients=True))
    assert_close(exact, rough, 1e-2)
    assert not torch.equal(exact["net.layers.0.weight"], rough["net.layers.0.weight"])
