"""What training a classifier takes: its data, the labels they hold, and how images are varied."""

from functools import partial

from ..classify import classes_of, measure, tree_of
from ..data import ClassifierAugment, ClassifierDataset, DataError, DataFile, ShapeClasses
from .training_data import TrainingData, colours, drawn, names_of


def takes(net):
    """Whether a network tells classes of whole images apart."""
    return classes_of(net) is not None


def open_data(net, args, out, console):
    """Labelled images of a .data file, or drawn shapes."""
    data = DataFile.read(args.data) if args.data else DataFile("")
    train_set, valid = open_sets(net, args, console)
    ways = partial(measure, top=data.number("top", 5))
    return TrainingData(train_set, valid, names_of(train_set), augmentation(net), ways, "top 1")


def open_sets(net, args, console):
    """(training set, validation set or None), checked before the first step."""
    if not args.data:
        return _shapes(net, args.seed, console)
    train_set = open_part(net, args.data, "train")
    found = train_set.check()
    console.say(
        f"{args.data}: {len(train_set)} images of {train_set.classes} classes to train on; of "
        f"{found.images} looked at {len(found.broken)} are broken, {len(found.repairs)} hold "
        "several labels"
    )
    valid = open_part(net, args.data, "valid") if args.map else None
    if valid:
        valid.check()
    return train_set, valid


def open_part(net, path, part):
    """The train or valid list of a .data file, whose labels must be as many as the outputs."""
    smooth = 0.0 if tree_of(net) else net.options.label_smooth_eps
    dataset = ClassifierDataset.from_data(path, part, smooth)
    wanted = classes_of(net)
    if dataset.classes != wanted:
        raise DataError(
            f"{path}: {dataset.classes} labels, but the network has {wanted} outputs; correct the "
            "file, or the filters of the last convolution"
        )
    return dataset


def _shapes(net, seed, console):
    """Drawn shapes of the network's size, one in each image."""
    classes = classes_of(net)
    train, valid = drawn(ShapeClasses, net, classes, seed)
    console.say(
        f"no --data: training on drawn shapes, one of {classes} classes in each of {len(train)} "
        f"images made in memory, {len(valid)} others held out"
    )
    return train, valid


def augmentation(net):
    """How training images are varied: keys of [net], as in Darknet."""
    options = net.options
    for key in ("gaussian_noise", "letter_box"):
        if getattr(options, key):
            net.sections[0].warn(f"{key} is for detectors; a classifier goes without", key)
    return ClassifierAugment(
        min_crop=options.min_crop,
        max_crop=options.max_crop,
        angle=options.angle,
        aspect=options.aspect,
        **colours(options),
        blur=options.blur,
        mixup=bool(options.mixup),
        cutmix=bool(options.cutmix),
        mosaic=bool(options.mosaic),
    )
