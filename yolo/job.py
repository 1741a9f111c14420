"""What the flags of `train` mean: from a cfg and a data set to a running Trainer and its results.

Without a .data file the network trains on drawn shapes, with as many classes as the cfg has.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from . import cfg, evaluate, plot, weights
from .data import Augment, DataError, DataFile, Dataset, Loader, ShapesDataset
from .data.anchors import average_iou, box_sizes, fit_anchors
from .data.image import write
from .files import atomic
from .network import Network
from .train import Plan, Trainer, map_interval, weights_interval

SHAPES_TRAIN, SHAPES_VALID = 2000, 200  # drawn images of one pass, and held-out ones
PICTURES = 12
PRECISIONS = {"fast": "3x3 convolutions by Winograd", "exact": "every convolution summed directly"}


@dataclass
class Source:
    """Where images come from: what to train on, what to measure on, what the classes are."""

    train: Dataset | ShapesDataset
    valid: Dataset | ShapesDataset | None
    names: list[str]
    backup: Path | None = None


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


def override(sections, args):
    """Writes the flags into the cfg's sections, so that the cfg kept beside the weights is the
    one that was trained."""
    keys = {
        "batch": args.batch,
        "subdivisions": args.subdivisions,
        "width": args.width,
        "height": args.height,
        "max_batches": args.iterations,
        "learning_rate": args.learning_rate,
    }
    for key, value in keys.items():
        if value is not None:
            sections[0].set(key, value)
    for assignment in args.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise cfg.CfgError(f"--set {assignment}: expected KEY=VALUE")
        sections[0].set(key.strip(), value.strip())
    if args.classes:
        set_classes(sections, args.classes)


def set_classes(sections, classes):
    """Gives every [yolo] head `classes`, and the convolution before it the filters it needs."""
    heads = [i for i, s in enumerate(sections) if s.name == "yolo"]
    if not heads:
        raise sections[0].error("--classes: the network has no [yolo] head")
    for i in heads:
        head, before = sections[i], sections[i - 1]
        if before.name not in ("convolutional", "conv"):
            raise head.error(f"--classes: [convolutional] expected before it, got [{before.name}]")
        anchors = len(head.ints("mask", None) or range(head.int("num", 1)))
        head.set("classes", classes)
        before.set("filters", anchors * (classes + 5))


def set_anchors(net, dataset, console):
    """Writes anchors that fit the data into the sections of the heads: as many as their masks
    name in all, the largest to the coarsest grid."""
    height, width = net.input_shape[1:]
    heads = sorted(detection_heads(net), key=lambda head: -head.out_shape[1] * head.out_shape[2])
    sizes = box_sizes(dataset, height, width)
    total = sum(len(head.mask) for head in heads)
    anchors = fit_anchors(sizes, total)
    before = average_iou(sizes, np.array(heads[0].anchors, np.float64))
    after = average_iou(sizes, anchors)
    text = ", ".join(f"{w:.0f},{h:.0f}" for w, h in anchors)
    console.say(f"anchors {text}: average IoU {100 * after:.1f} %, before {100 * before:.1f} %")
    first = 0
    for head in heads:
        mask = range(first, first + len(head.mask))
        first += len(head.mask)
        head.section.set("mask", ",".join(map(str, mask)))
        head.section.set("anchors", text)
        head.section.set("num", total)


def detector_classes(net):
    """Number of classes of the network's heads; all must agree."""
    return detection_heads(net)[-1].classes


def detection_heads(net):
    """The heads that find boxes; a network without one is refused."""
    heads = [layer for layer in net.layers if hasattr(layer, "anchors")]
    if not heads:
        raise net.sections[0].error("the network has no [yolo] head, so it cannot train on boxes")
    return heads


def open_source(net, args, console):
    """Training and validation data, checked before the first step."""
    classes = detector_classes(net)
    if not args.data:
        return shapes_source(net, classes, args.seed, console)
    train_set = open_part(args.data, "train", classes)
    found = train_set.check()
    console.say(
        f"{args.data}: {len(train_set)} images to train on; of {found.images} looked at "
        f"{len(found.unlabelled)} have no label file, {len(found.broken)} are broken"
    )
    valid = open_part(args.data, "valid", classes) if args.map else None
    if valid:
        valid.check()
    backup = DataFile.read(args.data).get("backup")
    names = train_set.names or [str(i) for i in range(classes)]
    return Source(train_set, valid, names, Path(backup) if backup else None)


def open_part(path, part, classes):
    """The train or valid list of a .data file, whose names must be as many as the classes."""
    dataset = Dataset.from_data(path, part, classes)
    named = len(dataset.names) if dataset.names else DataFile.read(path).classes
    if named and named != classes:
        raise DataError(
            f"{path}: {named} classes, but the network has {classes}; train with "
            f"--classes {named}, or correct the file"
        )
    return dataset


def shapes_source(net, classes, seed, console):
    """Drawn shapes of the network's size."""
    if classes > 80:
        raise net.sections[-1].error(
            f"drawn shapes have at most 80 classes, the network has {classes}; "
            "name a data set with --data, or set --classes"
        )
    size = net.input_shape[1:]
    console.say(
        f"no --data: training on drawn shapes, {classes} classes, "
        f"{SHAPES_TRAIN} images made in memory, {SHAPES_VALID} others held out"
    )
    train_set = ShapesDataset(classes, SHAPES_TRAIN, size, seed=seed, split="train")
    valid = ShapesDataset(classes, SHAPES_VALID, size, seed=seed, split="valid")
    return Source(train_set, valid, train_set.names)


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
        f"{torch.get_num_threads()} threads, {PRECISIONS[args.precision]}; results in {out}"
    )
    if options.ema_alpha:
        console.say("ema_alpha is set: averaged weights are not built yet, training goes without")
    loader = Loader(
        source.train,
        options.mini_batch,
        *net.input_shape[1:],
        augment=augmentation(net),
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
        )
        trainer.run()
    if loader.unlabelled or loader.broken:
        console.say(
            f"{len(loader.unlabelled)} images without a label file were taken as empty, "
            f"{len(loader.broken)} broken ones were replaced"
        )
    if source.valid:
        # with --map the last iteration was measured
        result = trainer.result or evaluate.evaluate(net, source.valid)
        finish(net, source, result, out, console)


def line(progress):
    """The progress line: of one iteration, or of the first mini-batches before there is one."""
    p = progress
    if math.isnan(p.loss):
        return f"mini-batch {p.mini_batch}"
    parts = [
        f"loss {p.loss:.3f}",
        f"avg {p.avg_loss:.3f}",
        f"rate {p.rate:.2g}",
        f"{p.images_per_second:.1f} img/s",
        f"wait {100 * p.wait_seconds / p.seconds:.0f}%",
        f"left {clock(p.seconds_left)}",
    ]
    if p.best_map is not None:
        parts.append(f"mAP {100 * p.last_map:.2f}%")
        parts.append(f"best {100 * p.best_map:.2f}%")
    if p.skipped:
        parts.append(f"{p.skipped} broken images skipped")
    return "  ".join(parts)


def clock(seconds):
    """1:02:03 or 2:03."""
    seconds = int(seconds)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def finish(net, source, result, out, console):
    """The report on the held-out data, and pictures of what the network finds there."""
    console.say(result.report(source.names))
    net.names = source.names
    drawn = []
    for index in range(min(PICTURES, len(source.valid))):
        sample = source.valid[index]
        drawn.append(net.predict(sample.image).draw(sample.image))
    write(out / "detections.jpg", plot.contact_sheet(drawn))
    console.say(f"pictures: {out / 'detections.jpg'}; curves: {out / 'chart.png'}")


def augmentation(net):
    """How training images are varied: keys of [net] and of the last head, as in Darknet."""
    options = net.options
    head = detection_heads(net)[-1]
    return Augment(
        jitter=head.jitter,
        resize=head.resize,
        max_boxes=head.max,
        flip=bool(options.flip),
        hue=options.hue,
        saturation=options.saturation,
        exposure=options.exposure,
        letter_box=bool(options.letter_box),
        mosaic=bool(options.mosaic),
    )
