"""Measuring a network on images with known boxes.

    result = evaluate(net, dataset)         # or any iterable of (image, boxes)
    print(result.report(dataset.names))

One `Pass` over the images, and a judge for each protocol: `darknet.Tally`, `voc.Tally`,
`coco.Referee`. `confusion`, `recall` and `results` (files for other judges) look at the same.
"""

from ..predict import check_share, detection_heads
from .darknet import AREA, COCO, LOWEST, SUPPRESSION, VOC, Result, Tally, average_precisions, match
from .images import Pass

__all__ = [
    "AREA",
    "COCO",
    "LOWEST",
    "SUPPRESSION",
    "VOC",
    "Pass",
    "Result",
    "Tally",
    "average_precisions",
    "evaluate",
    "match",
]


def evaluate(
    net, samples, iou=0.5, points=AREA, thresh=0.25, batch=1, workers=4, progress=None,
    precision=None, difficult=None,
) -> Result:  # fmt: skip
    """Darknet's mean average precision.

    samples, batch, workers, precision, difficult: as a Pass takes them.
    iou: what a detection must overlap a truth by.  points: 0 area under the curve, 11 VOC 2007,
        101 COCO.  thresh: for precision, recall, F1 and average IoU.
    progress: called with the number of images done after each image.

    The network is measured as it would predict, whatever its mode, and left as it is.
    """
    check_share("evaluate: iou", iou)
    check_share("evaluate: thresh", thresh)
    if points != AREA and points < 2:
        raise ValueError(f"evaluate: points is {points}; expected 0, or at least 2 (11, 101)")
    tally = Tally(detection_heads(net)[-1][1].classes, iou, thresh)
    images = Pass(net, samples, LOWEST, SUPPRESSION, batch, workers, precision, difficult)
    for seen in images:
        tally.see(seen)
        if progress:
            progress(tally.images)
    result = tally.result(points)
    result.skipped = [str(error) for error in images.skipped]
    return result
