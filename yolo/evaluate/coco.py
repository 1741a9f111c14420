"""COCO's twelve numbers, computed by its own program (pycocotools).

The referee gets the same records that `results.CocoFile` writes, so that the file, judged by
anyone else, gives the same numbers. Truths come from a COCO annotation file, with its areas and
crowd regions, or from the labels: then the area is that of the box, and there are no crowds.
"""

import contextlib
import io
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..data.formats import FormatError
from ..data.formats.coco import category_ids, image_ids, load
from ..errors import YoloError
from ..legible import shown
from .results import LOWEST, SUPPRESSION, coco_records, entries

STATS = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip


class CocoError(YoloError):
    """A referee that is not installed."""


@dataclass
class Result:
    """The referee's numbers; -1 where it had nothing to judge."""

    stats: dict
    ap: list  # of each class, mean over IoU 0.50 to 0.95; None without truths
    ap50: list
    class_truths: list[int]
    images: int
    skipped: list[str] = field(default_factory=list)

    @property
    def map(self):
        return self.stats["AP"]

    def to_dict(self, names=None) -> dict:
        """Plain Python, fit for json.dump."""
        return asdict(self) | ({} if names is None else {"names": list(names)})

    def report(self, names=None) -> str:
        """A table of the classes, and the twelve numbers."""
        from .table import class_table

        percent = [[None if v is None else 100 * v for v in ap] for ap in (self.ap, self.ap50)]
        columns = {"truths": self.class_truths, "AP %": percent[0], "AP50 %": percent[1]}
        lines = [class_table(columns, names)]
        lines += [f"{key:10} {value:.4f}" for key, value in self.stats.items()]
        if self.skipped:
            first = self.skipped[0]
            lines.append(
                f"{len(self.skipped)} images could not be used, their truths count as missed; the "
                f"first: {first}"
            )
        return "\n".join(lines)


class Referee:
    """Gathers detections, and has them judged.

    paths: of the images, in the order of the Pass.  truth: a COCO annotation file, or None: the
    truths that the Pass saw.
    """

    lowest, suppression = LOWEST, SUPPRESSION

    def __init__(self, paths, classes, truth=None):
        self.classes, self.records, self.images = classes, [], 0
        self.from_labels = truth is None
        self.dataset = {} if truth is None else load(truth)
        self.ids, self.categories = numbers(paths, classes, truth, self.dataset)
        if self.from_labels:
            categories = [{"id": i, "name": str(i)} for i in self.categories]
            self.dataset = {"images": [], "annotations": [], "categories": categories}

    def see(self, seen):
        """Takes what a Pass saw of one image."""
        image_id = self.ids[seen.index]
        self.records += coco_records(entries(seen), image_id, self.categories)
        self.images += 1
        if self.from_labels:
            self._take_truths(seen, image_id)

    def _take_truths(self, seen, image_id):
        height, width = seen.shape
        self.dataset["images"].append({"id": image_id, "width": width, "height": height})
        for label, x, y, w, h in seen.truth.double().tolist():
            bbox = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            self.dataset["annotations"].append(
                {
                    "id": len(self.dataset["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": self.categories[int(label)],
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )

    def result(self):
        """The Result of the images so far."""
        judged = judge(self.dataset, self.records, sorted(set(self.ids)))
        self.precision = judged.eval["precision"]  # IoU, recall, class, area, detections
        order = {category: k for k, category in enumerate(judged.params.catIds)}
        self._columns = [order[category] for category in self.categories]
        counts = np.zeros(max(order, default=0) + 1, int)
        wanted = set(self.ids)
        for a in self.dataset["annotations"]:
            if a["image_id"] in wanted and not a.get("iscrowd"):
                counts[a["category_id"]] += 1
        stats = {key: float(v) for key, v in zip(STATS, judged.stats, strict=True)}
        ap, ap50 = self._by_class(slice(None)), self._by_class(slice(0, 1))
        return Result(stats, ap, ap50, counts[self.categories].tolist(), self.images)

    def _by_class(self, ious):
        """AP of each class over some of the IoU limits."""
        values = [self.precision[ious, :, k, 0, -1] for k in self._columns]
        return [float(v.mean()) if (v > -1).all() else None for v in values]

    def curves(self):
        """(precision, recall) of each class at IoU 0.50, None without truths; after result()."""
        recall = np.linspace(0, 1, self.precision.shape[1])
        curves = [self.precision[0, :, k, 0, -1] for k in self._columns]
        return [(c, recall) if (c > -1).all() else None for c in curves]


def judge(dataset, records, ids):
    """pycocotools' COCOeval of boxes, after all its steps; what it prints is dropped."""
    coco, evaluation = _referee()
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = coco(), coco()
        truth.dataset = dataset
        truth.createIndex()
        if records:
            found = truth.loadRes(records)
        else:  # loadRes cannot
            found.dataset = {**dataset, "annotations": []}
            found.createIndex()
        judged = evaluation(truth, found, "bbox")
        judged.params.imgIds = ids
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged


def _referee():
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise CocoError(
            "COCO's numbers need pycocotools: pip install 'darknet-torch[coco]'"
        ) from None
    return COCO, COCOeval


# ---- ids ----


def numbers(paths, classes, truth=None, dataset=None):
    """(id of each image, id of each class): those of an annotation file, or made from names."""
    if truth is None:
        return image_ids(paths), category_ids(classes)
    dataset = dataset or load(truth)
    return ids_of(dataset, paths, truth), categories_of(dataset, classes, truth)


def ids_of(dataset, paths, source):
    """The id of each image, found by its file name."""
    known = {Path(image["file_name"]).name: image["id"] for image in dataset["images"]}
    ids = []
    for path in paths:
        name = Path(path).name
        if name not in known:
            raise FormatError(f"{shown(source)}: has no image {shown(name)}, which the list names")
        ids.append(known[name])
    return ids


def categories_of(dataset, classes, source):
    """The id of each class: the categories by rising id, as Darknet numbers them."""
    ids = sorted(category["id"] for category in dataset["categories"])
    if len(ids) != classes:
        raise FormatError(
            f"{shown(source)}: {len(ids)} categories, but the network has {classes} classes"
        )
    return ids
