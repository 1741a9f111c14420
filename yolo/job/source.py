"""Where images come from: a .data file, or drawn shapes with as many classes as the cfg has."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .. import classify, evaluate
from ..data import (
    Augment,
    ClassifierAugment,
    ClassifierDataset,
    DataError,
    DataFile,
    Dataset,
    ShapesDataset,
)
from ..data.dataset import ImageList
from ..data.shapes import TRAIN_LENGTH, VALID_LENGTH
from ..data.shards import ShardDataset, is_shards
from ..layers.head import Head
from . import classifier


@dataclass
class Source:
    """Where images come from: what to train on and how it is varied, what to measure on and how
    (a function of network, data set and `precision`, which gives `score`), what the classes are."""

    train: Dataset | ClassifierDataset | ShapesDataset
    valid: Dataset | ClassifierDataset | ShapesDataset | None
    names: list[str]
    augment: Augment | ClassifierAugment
    measure: Callable
    score: str


def open_source(net, args, console):
    """Training and validation data, checked before the first step."""
    data = DataFile.read(args.data) if args.data else DataFile("")
    if classify.classes_of(net):
        train_set, valid = classifier.open_sets(net, args, console)
        augment = classifier.augmentation(net)
        measure, score = partial(classify.measure, top=data.number("top", 5)), "top 1"
    else:
        train_set, valid = open_sets(net, args, console)
        augment, measure, score = augmentation(net), evaluate.evaluate, "mAP"
    if args.cache_images:
        keep_images(train_set, args.cache_images)
    names = train_set.names or [str(i) for i in range(train_set.classes)]
    return Source(train_set, valid, names, augment, measure, score)


def keep_images(dataset, size):
    """Lets the loader's workers share decoded images, in `size` bytes."""
    if not isinstance(dataset, ImageList):
        raise DataError("--cache-images: only images of a list can be kept")
    dataset.keep_images(size)


def detector_classes(net):
    """Number of classes of the network's heads; all must agree."""
    return detection_heads(net)[-1].classes


def detection_heads(net):
    """The heads that find boxes; a network without one is refused."""
    heads = [layer for layer in net.layers if isinstance(layer, Head)]
    if not heads:
        raise net.sections[0].error(
            "the network has no head such as [yolo], so it cannot train on boxes"
        )
    return heads


def open_sets(net, args, console):
    """(training set, validation set or None) of a detector."""
    classes = detector_classes(net)
    if not args.data:
        return shapes_sets(net, classes, args.seed, console)
    train_set = open_part(args.data, "train", classes)
    found = train_set.check()
    console.say(
        f"{args.data}: {len(train_set)} images to train on; of {found.images} looked at "
        f"{len(found.unlabelled)} have no label file, {len(found.broken)} are broken"
    )
    valid = open_part(args.data, "valid", classes) if args.map else None
    if valid:
        valid.check()
    return train_set, valid


def open_part(path, part, classes):
    """The train or valid list of a .data file, whose names must be as many as the classes."""
    sharded = is_shards(DataFile.read(path).get(part, ""))
    dataset = (ShardDataset if sharded else Dataset).from_data(path, part, classes)
    named = len(dataset.names) if dataset.names else DataFile.read(path).classes
    if named and named != classes:
        raise DataError(
            f"{path}: {named} classes, but the network has {classes}; train with "
            f"--classes {named}, or correct the file"
        )
    return dataset


def shapes_sets(net, classes, seed, console):
    """Drawn shapes of the network's size."""
    if classes > 80:
        raise net.sections[-1].error(
            f"drawn shapes have at most 80 classes, the network has {classes}; "
            "name a data set with --data, or set --classes"
        )
    size = net.input_shape[1:]
    console.say(
        f"no --data: training on drawn shapes, {classes} classes, "
        f"{TRAIN_LENGTH} images made in memory, {VALID_LENGTH} others held out"
    )
    train_set = ShapesDataset(classes, TRAIN_LENGTH, size, seed=seed, split="train")
    valid = ShapesDataset(classes, VALID_LENGTH, size, seed=seed, split="valid")
    return train_set, valid


def augmentation(net):
    """How training images are varied: keys of [net] and of the last head, as in Darknet."""
    options = net.options
    head = detection_heads(net)[-1]
    if options.cutmix:
        net.sections[0].warn("cutmix is for classifiers; a detector goes without", "cutmix")
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
        mixup=bool(options.mixup),
        blur=options.blur,
        gaussian_noise=options.gaussian_noise,
    )
