"""A run that goes on exchanges what it did before."""

from argparse import Namespace

import pytest

from yolo.checkpoint import Checkpoint
from yolo.job.resume import IN_CFG, OF_RUN, settle


@pytest.mark.parametrize("flag", ["sync_bn", "bf16_gradients"])
def test_flags_of_ranks_hold_when_a_run_goes_on(flag):
    absent = dict.fromkeys(IN_CFG) | {"set": []} | dict.fromkeys(OF_RUN) | {"map": False}
    first = Namespace(**absent | {flag: True})
    kept = settle(first, None, print)
    assert kept[flag] is True
    again = Namespace(**absent | {flag: False})
    said = []
    assert settle(again, Checkpoint({"flags": kept}), said.append)[flag] is True
    assert getattr(again, flag) is True and said == []
