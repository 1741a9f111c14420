"""What the flags of `train` mean: from a cfg and a data set to a running Trainer and its results.

Without a .data file the network trains on drawn shapes, with as many classes as the cfg has.
"""

from pathlib import Path

import torch

from .. import cfg, weights
from ..data import Loader
from ..files import atomic
from ..network import Network
from ..ops.precision import WORDS
from ..train import Plan, Trainer, map_interval, weights_interval
from .changes import anchor_heads, override, set_anchors
from .report import finish, line
from .source import detection_heads, detector_classes, open_part, open_source

__all__ = ["anchor_heads", "detection_heads", "detector_classes", "open_part", "run"]


def run(args, console):
    """`python -m yolo train`: returns the exit code."""
    sections = cfg.read(args.cfg, strict=args.strict)
    override(sections, args)
    net = Network(sections, seed=args.seed)
    source = open_source(net, args, console)
    if args.anchors:
        set_anchors(net, source.train, console)
        net = Network(sections, seed=args.seed)
    if args.weights:
        weights.load(net, args.weights)
    if args.clear:
        net.seen = net.iteration = 0
    net.to(args.device)
    name = Path(args.cfg).stem
    out = Path(args.out) if args.out else source.backup or Path("runs") / name
    out.mkdir(parents=True, exist_ok=True)
    atomic(out / f"{name}.cfg", cfg.dump(sections))
    atomic(out / f"{name}.names", "\n".join(source.names) + "\n")
    train(net, source, out, name, args, console)
    return 0


def train(net, source, out, name, args, console):
    """Runs the Trainer, then measures the result and draws some of it."""
    options = net.options
    if net.iteration >= options.max_batches:
        raise net.sections[0].error(
            f"nothing to train: iteration {net.iteration} of max_batches={options.max_batches}; "
            "set --iterations, or count from 0 again with --clear",
            "max_batches",
        )
    plan = Plan(
        out,
        name,
        options.max_batches,
        map_every=map_interval(len(source.train), options.effective_batch) if args.map else None,
        save_every=weights_interval(options.max_batches),
        precision=args.precision,
    )
    console.say(
        f"{name}: {options.max_batches} iterations of {options.effective_batch} images "
        f"({options.subdivisions} mini-batches), {net.input_shape[2]}x{net.input_shape[1]}, "
        f"{torch.get_num_threads()} threads, {WORDS[args.device][args.precision]}; "
        f"results in {out}"
    )
    if options.ema_alpha:
        console.say("ema_alpha is set: averaged weights are not built yet, training goes without")
    loader = Loader(
        source.train,
        options.mini_batch,
        *net.input_shape[1:],
        augment=source.augment,
        workers=args.workers,
        seed=args.seed,
        start=net.seen,
    )
    with loader as batches:
        trainer = Trainer(
            net,
            batches,
            plan,
            source.valid,
            report=lambda p: console.progress(
                p.iteration, plan.max_batches, line(p), stays=p.map is not None
            ),
            device=args.device,
            measure=source.measure,
        )
        trainer.run()
    if loader.unlabelled or loader.broken:
        console.say(
            f"{len(loader.unlabelled)} images without a label file were taken as empty, "
            f"{len(loader.broken)} broken ones were replaced"
        )
    if source.valid:
        # with --map the last iteration was measured
        result = trainer.result or source.measure(net, source.valid, precision=args.precision)
        finish(net, source, result, out, console)
