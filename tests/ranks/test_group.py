"""What ranks say to each other, and that the first speaks for all."""

import json
import signal
import sys

import pytest
import torch

from tests.train.small_run import network, trainer
from yolo import ranks
from yolo.__main__ import main
from yolo.checkpoint import read
from yolo.ranks.launch import torchrun
from yolo.train import TrainError


def facts(folder, count):
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


@pytest.mark.parametrize("count", [1, 3])
def test_exchanges(together, count):
    own = range(count)
    for rank, found in enumerate(facts(together(count, "exchange"), count)):
        assert found["everyone"] == [{"rank": r, "text": "x" * r} for r in own]
        assert found["bytes"] == list(own)
        assert found["largest"] == [count - 1, 0, 0.5 * (count - 1)]
        assert found["any"] == [count > 1, False]
        assert found["gathered"] == [[r, 2 * r] for r in own]
        assert found["summed"] == sum(own)
        assert found["mine"] == [7 * rank // count, 7 * (rank + 1) // count]
        assert found["turns"] == list(range(7))
        assert found["first"] == "of the first"
        assert found["order"] == ("12" if rank else 2)


def test_what_only_others_say_is_said_by_the_first(together):
    said, *others = (found["said"] for found in facts(together(3, "say"), 3))
    wanted = [f"rank {r}: only {r} {word} this" for r in (1, 2) for word in ("says", "logs")]
    assert said == wanted
    assert others == [[], []]


def test_a_signal_to_one_rank_breaks_off_the_measurement_of_all(together):
    folder = together(2, "interrupt")
    for found in facts(folder, 2):
        assert found == {"ended": "SIGTERM", "iteration": 5, "code": 128 + signal.SIGTERM}
    state = read(folder / "micro.ckpt").state
    assert (state["iteration"], state["booked"]) == (5, 4)  # goes on with the measurement


def test_where_the_first_fails_the_others_end(together):
    together(3, "fail_first", codes=[1, 1, 1])


def test_what_several_ranks_cannot_train(together):
    assert facts(together(1, "refuse"), 1)[0]["said"] == []
    recurrent, cbn = facts(together(2, "refuse"), 2)[1]["said"]
    assert "[rnn] goes through images in their order" in recurrent
    assert "cbn=1 does not go with --sync-bn" in cbn


def test_a_mini_batch_needs_an_image_for_each(monkeypatch, tmp_path):
    run = trainer(tmp_path, 2, network())
    monkeypatch.setattr(ranks, "count", lambda: 3)
    with pytest.raises(TrainError, match="a mini-batch of 2 images has none for each of 3 ranks"):
        run._check_sizes()


def test_a_process_alone_needs_no_others(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with ranks.joined(5.0):
        assert (ranks.number(), ranks.count(), ranks.first()) == (0, 1, True)
        assert torch.equal(ranks.summed(torch.ones(2)), torch.ones(2))


def test_gpus_start_torchrun(monkeypatch, capsys, cfg_folder):
    command = torchrun(2, ["train", "x.cfg", "--gpus", "0,3"])
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert command[3:] == [
        *("--standalone", "--nproc-per-node=2", "-m", "yolo"),
        *("train", "x.cfg", "--gpus", "0,3"),
    ]
    started = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.set_device", lambda number: None)
    monkeypatch.setattr("yolo.ranks.launch", lambda *given: started.append(given) or 7)
    argv = ["train", str(cfg_folder / "shapes.cfg"), "--gpus", "0,3"]
    assert main(argv) == 7
    assert started == [([0, 3], argv)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_without_gpus(capsys, cfg_folder):
    assert main(["train", str(cfg_folder / "shapes.cfg"), "--gpus", "0,1"]) == 1
    assert "no CUDA device" in capsys.readouterr().err
