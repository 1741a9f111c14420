"""The kinds of networks that a job trains."""

from ..data import DataError
from ..data.dataset import ImageList
from . import classifier, detector, faces

KINDS = (classifier, faces, detector)  # the first that takes a network has it


def open_data(net, args, out, console):
    """The TrainingData of a network; a network of no kind is refused. out: the run's folder."""
    kind = next((kind for kind in KINDS if kind.takes(net)), None)
    if kind is None:
        raise net.sections[0].error(
            "the network has no head such as [yolo], [softmax] or [mtcnn]: nothing to train"
        )
    data = kind.open_data(net, args, out, console)
    if args.cache_images:
        keep_images(data.train, args.cache_images)
    return data


def keep_images(dataset, size):
    """Lets the loader's workers share decoded images, in `size` bytes."""
    if not isinstance(dataset, ImageList):
        raise DataError("--cache-images: only images of a list can be kept")
    dataset.keep_images(size)
