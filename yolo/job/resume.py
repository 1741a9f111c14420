"""Going on with a training: from which checkpoint, and what is asked for anew.

A run that goes on is the run it was: cfg, flags, seed. Flags given again change nothing; flags
given with other values count from here on, and that is said.
"""

import hashlib
from pathlib import Path

from .. import cfg, ranks
from ..checkpoint import CheckpointError, Series, dump, parse, read
from ..errors import YoloError

IN_CFG = (
    *("batch", "subdivisions", "width", "height", "iterations", "learning_rate"),
    *("classes", "freeze", "set"),
)  # flags that override() writes into the cfg
OF_RUN = {  # others, with their defaults
    **{"seed": 0, "precision": None, "map": False, "on_nan": "stop"},
    **{"sync_bn": False, "bf16_gradients": False},
}
NEEDED = ("iteration", "booked", "max_batches", "cfg", "cfg_file", "flags", "names", "images")


class ResumeError(YoloError, ValueError):
    """What was asked for and what lies in the output folder do not go together."""


def find(args, out, name, say):
    """The checkpoint to go on from, or None for a training from its beginning. The first rank
    looks for it; the others, maybe on other machines, get it from there."""
    if ranks.count() == 1:
        return _find(args, out, name, say)

    def content():
        found = _find(args, out, name, say)
        return dump(found) if found else b""

    found = ranks.from_first(content)
    return parse(found, "the first rank's checkpoint") if found else None


def _find(args, out, name, say):
    series = Series(out, name)
    if ranks.started_again():  # whatever the user asked of the first start
        args.resume = ""
    if args.resume is None:
        _refuse_to_overwrite(series, args, say)
    if args.resume is None:
        return None
    if args.resume:
        path, found = Path(args.resume), read(args.resume)
    else:
        newest = series.newest(say)
        if newest is None:
            say(f"no checkpoint in {out}: training starts from its beginning")
            return None
        path, found = newest
    missing = [key for key in NEEDED if key not in found.state]
    if missing:
        raise CheckpointError(f"{path}: holds no training: {', '.join(missing)} missing")
    say(f"going on from {path}, iteration {found.state['iteration']}")
    return found


def _refuse_to_overwrite(series, args, say):
    """A training that was not finished is not written over unasked."""
    if args.fresh or not series.path.is_file():
        return
    try:
        state = read(series.path).state
    except CheckpointError as error:
        say(f"{error}; it is written over")
        return
    if ranks.job() and state.get("job") == ranks.job():
        args.resume = ""  # torchrun has other processes now, and has started them all again
        return
    if state["iteration"] < state.get("max_batches", 0):
        raise ResumeError(
            f"{series.path} holds a training at iteration {state['iteration']} of "
            f"{state['max_batches']}: go on with --resume, start over with --fresh, or choose "
            "another --out"
        )


def read_cfg(args, found, say):
    """Sections of the cfg: of the file, or of the checkpoint."""
    if found is None:
        return cfg.read(args.cfg, strict=args.strict)
    if found.state["cfg_file"] != fingerprint(Path(args.cfg).read_bytes()):
        say(f"{args.cfg} has changed since; the one in the checkpoint counts")
    return cfg.parse(found.state["cfg"], args.cfg, args.strict)


def settle(args, found, say):
    """Puts into `args` what a run goes by, and gives the flags that its checkpoints keep."""
    earlier = found.state["flags"] if found else {}
    given = {name: getattr(args, name) for name in (*IN_CFG, *OF_RUN)}
    flags = {name: earlier.get(name) if _absent(v) else v for name, v in given.items()}
    for name, value in given.items():
        if found and not _absent(value) and value != earlier.get(name):
            say(f"--{name.replace('_', '-')} {value} from here on; it was {earlier.get(name)}")
        elif found and name in IN_CFG:
            setattr(args, name, [] if name == "set" else None)  # the cfg has it already
    for name, default in OF_RUN.items():
        flags[name] = default if flags[name] is None else flags[name]
        setattr(args, name, flags[name])
    return flags


def _absent(value):
    """Whether a flag was not given."""
    return value is None or value is False or value == []


def fingerprint(content):
    """SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
