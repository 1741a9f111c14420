"""What training a detector takes: a .data file, or drawn shapes with as many classes as the cfg
has."""

from .. import evaluate
from ..data import Augment, DataError, DataFile, Dataset, ShapesDataset
from ..data.shards import ShardDataset, is_shards
from ..layers.head import Head
from .training_data import TrainingData, colours, drawn, names_of


def takes(net):
    """Whether a network finds boxes."""
    return any(isinstance(layer, Head) for layer in net.layers)


def open_data(net, args, out, console):
    """Boxes of a .data file, or drawn shapes."""
    train_set, valid = open_sets(net, args, console)
    return TrainingData(
        train_set,
        valid,
        names_of(train_set),
        augmentation(net),
        evaluate.evaluate,
        "mAP",
        pictures=True,
    )


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
    train, valid = drawn(ShapesDataset, net, classes, seed)
    console.say(
        f"no --data: training on drawn shapes, {classes} classes, "
        f"{len(train)} images made in memory, {len(valid)} others held out"
    )
    return train, valid


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
        **colours(options),
        letter_box=bool(options.letter_box),
        mosaic=bool(options.mosaic),
        mixup=bool(options.mixup),
        blur=options.blur,
        gaussian_noise=options.gaussian_noise,
    )
