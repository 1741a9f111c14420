"""What training a stage of MTCNN takes: samples cut from images with faces."""

from ..data import DataError
from ..data.faces import FaceAugment, open_faces, prepare
from ..faces import measure
from ..faces.cascade import is_proposal_stage
from ..layers.mtcnn import Mtcnn
from .training_data import TrainingData, colours

MARKS = 5  # landmarks that samples have


def takes(net):
    """Whether a network is a stage of MTCNN."""
    return isinstance(net.layers[-1], Mtcnn)


def open_data(net, args, out, console):
    """Samples of the network's size, made in the run's folder; P-Net is measured on whole images,
    by the faces that its proposals find, the other stages on samples."""
    head, folder = net.layers[-1], out / "samples"
    _check(net, head, args)
    train_set = samples(net, args, "train", folder, console)
    valid, way, score = None, measure.judge, "accuracy"
    if is_proposal_stage(net):
        valid = open_faces(args.data, "valid") if args.map else None
        way, score = measure.recall, "recall"
    elif args.map:
        valid = samples(net, args, "valid", folder, console)
    return TrainingData(train_set, valid, ["face"], augmentation(net), way, score)


def _check(net, head, args):
    if not args.data:
        raise DataError("--data: a stage of MTCNN trains on images with faces; name a .data file")
    if net.input_shape[1] != net.input_shape[2] or net.input_shape[0] != 3:
        raise net.sections[0].error("a stage of MTCNN takes squares: width=height, channels=3")
    if head.landmarks not in (0, MARKS):
        raise head.section.error(
            f"landmarks={head.landmarks}: samples have {MARKS}, or none is learned", "landmarks"
        )


def samples(net, args, part, folder, console):
    """FaceSamples of one list, and what there is to say about them."""
    faces = open_faces(args.data, part)
    found = prepare(
        faces,
        folder,
        net.input_shape[1],
        args.seed,
        progress=lambda done, total: console.progress(done, total, "images cut into samples"),
    )
    console.clear()
    found.learn_landmarks(bool(net.layers[-1].landmarks))
    kinds = ", ".join(f"{n} {kind.name.lower()}" for kind, n in found.counts().items() if n)
    console.say(
        f"{args.data}: {len(found)} samples from the {len(faces)} images of {part}: {kinds}"
        + (f"; {len(found.broken)} images are broken" if found.broken else "")
    )
    return found


def augmentation(net):
    """How samples are varied: keys of [net]."""
    return FaceAugment(**colours(net.options))
