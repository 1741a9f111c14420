"""Several processes that train, or measure, one network together: the ranks of `torchrun`.

    torchrun --nproc-per-node=4 -m yolo train my.cfg --data my.data

group      joining the others, and what is said between them
notes      warnings of every rank, in the log of the first
launch     --gpus: torchrun on behalf of the user

Rank 0 is the first: it alone writes files and speaks to the user. A process on its own is rank 0
of one, and every exchange gives back what was put in.
"""

from .group import (
    RankError,
    any_rank,
    breaking_off,
    count,
    everyone,
    first,
    from_first,
    gathered,
    in_turns,
    job,
    joined,
    largest,
    launched,
    local,
    mine,
    number,
    on_this_machine,
    one_then_all,
    round_robin,
    started_again,
    summed,
    waiting,
)
from .launch import launch
from .notes import Notes, collect, notes

__all__ = [
    "Notes",
    "RankError",
    "any_rank",
    "breaking_off",
    "collect",
    "count",
    "everyone",
    "first",
    "from_first",
    "gathered",
    "in_turns",
    "job",
    "joined",
    "largest",
    "launch",
    "launched",
    "local",
    "mine",
    "notes",
    "number",
    "on_this_machine",
    "one_then_all",
    "round_robin",
    "started_again",
    "summed",
    "waiting",
]
