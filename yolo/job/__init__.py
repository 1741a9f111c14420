"""What the flags of `train` mean: from a cfg and a data set to a running Trainer and its results.

Without a .data file the network trains on drawn shapes, with as many classes as the cfg has.
"""

from functools import partial
from itertools import chain
from pathlib import Path

import torch

from .. import cfg, ranks, weights
from ..data import DataFile, Loader
from ..data.sequences import Sequences
from ..network import Network
from ..ops.precision import WORDS
from ..train import (
    Plan,
    Trainer,
    largest_size,
    map_interval,
    weights_interval,
)
from . import processes, resume
from .changes import anchor_heads, override, set_anchors
from .detector import detection_heads, detector_classes, open_part
from .kinds import open_data
from .processes import check_alike
from .refusals import refuse
from .report import finish, heads_line, line

__all__ = ["anchor_heads", "detection_heads", "detector_classes", "open_part", "run"]


def run(args, console):
    """`python -m yolo train`: returns the exit code."""
    name = Path(args.cfg).stem
    out = output_folder(args, name)
    found = resume.find(args, out, name, console.say)
    sections = resume.read_cfg(args, found, console.say)
    flags = resume.settle(args, found, console.say)
    override(sections, args)
    net = Network(sections, seed=args.seed)
    refuse(net)
    processes.refuse(net, args.sync_bn)
    net.checkpoint_activations = args.checkpoint_activations
    source = ranks.one_then_all(lambda: open_data(net, args, out, console))
    check_alike(net, source)
    if found:
        net.to(args.device)
    else:
        net = begin(net, source, args, console)
    record = {
        "flags": flags,
        "names": source.names,
        "images": len(source.train),
        "max_batches": net.options.max_batches,
        "cfg_file": resume.fingerprint(Path(args.cfg).read_bytes()),
        "job": ranks.job(),
    }
    if found and found.state["images"] != len(source.train):
        console.say(
            f"the data had {found.state['images']} images, now {len(source.train)}: they come in "
            "another order from here on"
        )
    return train(net, source, out, name, args, console, record, found)


def output_folder(args, name):
    """--out, or `backup` of the .data file, or runs/NAME."""
    backup = DataFile.read(args.data).get("backup") if args.data and not args.out else None
    return Path(args.out or backup or Path("runs") / name)


def begin(net, source, args, console):
    """The network at the start of a training: anchors, weights, counters, subdivisions."""
    if args.anchors:
        set_anchors(net, source.train, console)
        net = Network(net.sections, seed=args.seed)
        net.checkpoint_activations = args.checkpoint_activations
    if args.weights and weights.load(net, args.weights) < len(net.layers):
        console.say(f"{args.weights}: {weights.coverage(net, args.weights)}")
    if args.clear:
        net.seen = net.iteration = 0
    net.to(args.device)
    if args.auto_batch:
        processes.fit_subdivisions(net, torch.device(args.device), console.say)
    return net


def train(net, source, out, name, args, console, record, found):
    """Runs the Trainer, then measures the result and draws some of it; returns the exit code."""
    options = net.options
    iteration = found.state["iteration"] if found else net.iteration
    if found and min(iteration, found.state["booked"]) >= options.max_batches:
        console.say(f"the training is complete: iteration {iteration} of {options.max_batches}")
        return 0
    if not found and iteration >= options.max_batches:
        raise net.sections[0].error(
            f"nothing to train: iteration {iteration} of max_batches={options.max_batches}; "
            "set --iterations, or count from 0 again with --clear",
            "max_batches",
        )
    loaders = []

    def open_batches(position, number, sizes):
        loader = Loader(
            source.train,
            options.mini_batch,
            *largest_size(net),
            augment=source.augment,
            workers=processes.loader_workers(args),
            seed=args.seed,
            start=position,
            number=number,
            sizes=sizes,
            share=ranks.mine,
            order=partial(Sequences, options) if options.track else None,
        )
        loaders.append(loader)
        return loader

    trainer = Trainer(
        net,
        open_batches,
        plan_of(args, options, source, out, name, record),
        source.valid,
        report=lambda p: console.progress(
            p.iteration, options.max_batches, line(p), stays=p.map is not None, more=heads_line(p)
        ),
        say=console.say,
        device=args.device,
        measure=source.measure,
        texts={f"{name}.cfg": cfg.dump(net.sections), f"{name}.names": lines(source.names)},
        checkpoint=found,
    )
    console.say(
        f"{name}: {options.max_batches} iterations of {options.effective_batch} images "
        f"({options.subdivisions} mini-batches), {net.input_shape[2]}x{net.input_shape[1]}, "
        f"{processes.count()}{torch.get_num_threads()} threads, "
        f"{WORDS[args.device][args.precision]}; results in {out}"
    )
    trainer.run()
    say_broken(loaders, console)
    if trainer.stop.signal is not None:
        console.say(
            f"{trainer.stop.name}: stopped after iteration {net.iteration}; go on with --resume"
        )
        return trainer.stop.exit_code
    if trainer.ended:
        console.say(f"ended after iteration {net.iteration}: {trainer.ended}")
    if source.valid:
        # with --map the last iteration was measured
        measured = trainer.result if trainer.rhythm.due(net.iteration) else None
        result = measured or source.measure(net, source.valid, precision=args.precision)
        if ranks.first():
            finish(net, source, result, out, console)
    return 0


def plan_of(args, options, source, out, name, record):
    """The flags as the Trainer takes them."""
    interval = map_interval(len(source.train), options.effective_batch)
    data = DataFile.read(args.data) if args.data else DataFile("")
    return Plan(
        out,
        name,
        map_every=interval if args.map else None,
        score=source.score,
        save_every=data.number("saveweights", weights_interval(options.max_batches)),
        save_last_every=args.save_every or data.number("savelast", 100),
        keep=args.keep,
        precision=args.precision,
        seed=args.seed,
        on_nan=args.on_nan,
        patience=args.patience,
        max_hours=args.max_hours,
        tensorboard=args.tensorboard,
        log_gradients=args.log_gradients,
        sync_bn=args.sync_bn,
        bf16_gradients=args.bf16_gradients,
        graph=args.graph,
        record=record,
    )


def say_broken(loaders, console):
    """How many images the run had to do without."""
    own = [[*each.unlabelled] for each in loaders], [[*each.broken] for each in loaders]
    met = zip(*ranks.everyone(own), strict=True)
    unlabelled, broken = (set(chain(*chain(*of_ranks))) for of_ranks in met)
    if unlabelled or broken:
        console.say(
            f"{len(unlabelled)} images without a label file were taken as empty, "
            f"{len(broken)} broken ones were replaced"
        )


def lines(names):
    """The text of a .names file."""
    return "\n".join(names) + "\n"
