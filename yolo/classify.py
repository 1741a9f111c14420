"""Classifiers: the surest classes of an image, and how often the right one is among them.

    guesses(net, image, top=5)        [(class, probability), ...]
    measure(net, dataset).report()    top-1 and top-5 on images whose labels are known

The shorter side of an image is stretched to the network's width and the middle is cut out, as
Darknet's `classifier predict` and `classifier valid` do.
"""

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from math import prod

import numpy as np
import torch

from . import ranks
from .data.ahead import ahead
from .data.image import ImageError, centred
from .data.labels import LabelError
from .inference import compute, inference
from .layers.cost import Cost
from .layers.softmax import Softmax
from .predict import stacked

LISTED = 100  # more classes than this are not listed one by one in a report


def classes_of(net):
    """How many classes a classifier tells apart; None for a network of another kind. A classifier
    is a network whose last loss is that of [softmax] or [cost]."""
    losses = [layer for layer in net.layers if hasattr(layer, "loss")]
    if not losses or not isinstance(losses[-1], Softmax | Cost):
        return None
    return prod(losses[-1].out_shape)


def check_classifier(net):
    """Number of classes; refuses networks that are no classifiers."""
    classes = classes_of(net)
    if classes is None:
        raise net.sections[-1].error("ends the network, but a classifier ends in [softmax], [cost]")
    return classes


@dataclass
class Accuracy:
    """How often the right class was the surest, and among the `top` surest; 0..1."""

    top1: float
    topk: float
    top: int
    images: int
    class_images: list[int]
    class_right: list[int]  # surest and right
    skipped: list[str] = field(default_factory=list)  # why images could not be used

    @property
    def brief(self):
        """For a progress line."""
        return f"top 1 {100 * self.top1:.2f}%  top {self.top} {100 * self.topk:.2f}%"

    @property
    def score(self):
        """What training takes for the measure of the best weights."""
        return self.top1

    def to_dict(self, names=None) -> dict:
        """Plain Python, fit for json.dump."""
        return asdict(self) | ({} if names is None else {"names": list(names)})

    def report(self, names=None) -> str:
        """Classes one by one where they are few, then the totals."""
        lines = []
        if len(self.class_images) <= LISTED:
            for c, (right, count) in enumerate(
                zip(self.class_right, self.class_images, strict=True)
            ):
                name = names[c] if names is not None and c < len(names) else f"class {c}"
                share = f"{100 * right / count:.2f} %" if count else "no image"
                lines.append(
                    f"class_id = {c}, name = {name}, top 1 = {share}   \t ({right}/{count})"
                )
        lines.append(f" {self.images} images: top 1: {self.top1:f}, top {self.top}: {self.topk:f}")
        if self.skipped:
            lines.append(
                f" {len(self.skipped)} images could not be used; the first: {self.skipped[0]}"
            )
        return "\n".join(lines)


def guesses(net, image, top=5, precision=None):
    """[(class, probability)], the surest first, of an image: uint8 (H, W, 3) RGB."""
    check_classifier(net)
    x = torch.from_numpy(centred(image, *net.input_shape[1:]))
    y = probabilities(net, inference(net, 1, precision), x[None])[0]
    tree = tree_of(net)
    if tree:
        y = tree.probabilities(y, 0)
    order = surest(y, top)
    return list(zip(order.tolist(), y[order].tolist(), strict=True))


def tree_of(net):
    """The hierarchy of a classifier's classes, or None."""
    return getattr(net.layers[net.heads[-1]], "tree", None)


@torch.no_grad()
def probabilities(net, run, x):
    """(B, classes) on the CPU, with a tree each given its parent; `run` is inference.inference."""
    parameter = next(net.parameters(), x)
    return compute(run, x.to(parameter.device, parameter.dtype))[-1].float().flatten(1).cpu()


def surest(y, top):
    """Numbers of the `top` largest along the last dimension; of equal ones the first."""
    return y.argsort(dim=-1, descending=True, stable=True)[..., :top]


def measure(net, dataset, top=5, batch=8, workers=4, precision=None) -> Accuracy:
    """Measures a classifier on a data set whose samples have labels; the first of the largest is
    the right one. The network is left as it is."""
    classes = check_classifier(net)
    run, skipped, found = inference(net, batch, precision), [], []
    own = ranks.round_robin(range(len(dataset)))
    loaded = ahead((partial(_load, dataset, n, net.input_shape[1:]) for n in own), workers)
    chunks = iter(lambda: list(islice(loaded, batch)), [])
    looked = (_look(net, run, chunk, top) for chunk in chunks)
    for hits, errors in ranks.in_turns(looked, lambda x: json.dumps(x).encode(), json.loads):
        skipped += errors
        found += hits
    if skipped and not found:
        raise ImageError(f"none of {len(skipped)} images can be used; first: {skipped[0]}")
    return _accuracy(found, classes, top, skipped)


def _look(net, run, chunk, top):
    """([(label, which of the `top` guesses is right)], errors as text) of loaded images."""
    skipped = [str(item) for item in chunk if isinstance(item, Exception)]
    usable = [item for item in chunk if not isinstance(item, Exception)]
    if not usable:
        return [], skipped
    inputs, labels = zip(*usable, strict=True)
    y, tree = probabilities(net, run, stacked(inputs)), tree_of(net)
    if tree:  # what is measured are classes that have no others below them, as in Darknet
        y = tree.leaves(tree.probabilities(y, 1), 1)
    order = surest(y, top).numpy()
    hits = zip(labels, order, strict=True)
    return [(label, (guess == label).tolist()) for label, guess in hits], skipped


def _load(dataset, index, size):
    """(input, label) of an image, or the error that it gave."""
    try:
        sample = dataset[index]
    except (ImageError, LabelError) as error:
        return error
    return torch.from_numpy(centred(sample.image, *size)), int(sample.labels.argmax())


def _accuracy(found, classes, top, skipped):
    labels = np.array([label for label, _ in found], np.int64)
    hits = np.array([hit for _, hit in found], bool).reshape(len(found), -1)
    return Accuracy(
        top1=float(hits[:, :1].any(1).mean()) if len(found) else 0.0,
        topk=float(hits.any(1).mean()) if len(found) else 0.0,
        top=top,
        images=len(found),
        class_images=np.bincount(labels, minlength=classes).tolist(),
        class_right=np.bincount(labels[hits[:, :1].any(1)], minlength=classes).tolist(),
        skipped=skipped,
    )
