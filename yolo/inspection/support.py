"""matrix() -> Markdown: every section and key of a .cfg, and what becomes of it.

Written from the code: each layer is built from the smallest cfg that it takes, and says itself
which keys it asked for, which it knows and leaves aside, and which it refuses and why.

    python -m yolo.inspection.support > docs/support.md
"""

import warnings

from ..cfg import CfgError, CfgWarning, parse
from ..layers import ABSENT, LAYERS
from ..network import Network
from ..options import ABSENT as NET_ABSENT
from ..options import IGNORED as NET_IGNORED
from ..options import NetOptions

NET = "[net]\nwidth=8\nheight=8\nchannels=4\nmax_batches=10\n"
TWO = "[conv]\nfilters=4\n[conv]\nfilters=4\n"
RPN = "[conv]\nfilters=5\n[rpn]\nanchors=4,4\n"
# (layers before, keys) of sections that need some
SMALLEST = {
    "shortcut": (TWO, "from=-2"),
    "sam": (TWO, "from=-2"),
    "scale_channels": ("[conv]\nfilters=4\n[avgpool]\n", "from=-2"),
    "route": (TWO, "layers=-1,-2"),
    "yolo": ("[conv]\nfilters=6\n", "classes=1"),
    "Gaussian_yolo": ("[conv]\nfilters=10\n", "classes=1"),
    "region": ("[conv]\nfilters=6\n", "classes=1\nnum=1\nanchors=1,1"),
    "detection": ("[connected]\noutput=6\n", "classes=1\nside=1\nnum=1\ncoords=4"),
    "rpn": ("[conv]\nfilters=5\n", "anchors=4,4"),
    "roi_align": (RPN, "features=0\nrois=1"),
    "roi_pool": (RPN, "features=0\nrois=1"),
    "fast_rcnn": (
        f"{RPN}[roi_pool]\nfeatures=0\nrois=1\n[connected]\noutput=6\n",
        "classes=1\nrois=1",
    ),
    "crop": ("", "crop_height=4\ncrop_width=4"),
    "mtcnn": ("[conv]\nfilters=6\n", ""),
    "crnn": ("", "pad=1"),
    "conv_lstm": ("", "pad=1"),
}
# Keys that change nothing but training
TRAINING = {
    *("learning_rate", "clip", "onlyforward", "dont_update", "burnin_update", "stopbackward"),
    *("train_only_bn", "grad_centr", "probability", "dropblock", "dropblock_size_rel"),
    *("dropblock_size_abs", "label_smooth_eps", "max", "jitter", "resize", "random", "map"),
    *("iou_loss", "iou_thresh", "iou_thresh_kind", "ignore_thresh", "truth_thresh", "max_delta"),
    *("iou_normalizer", "obj_normalizer", "cls_normalizer", "delta_normalizer", "focal_loss"),
    *("uc_normalizer", "objectness_smooth", "counters_per_class", "show_details", "rescore"),
    *("thresh", "bias_match", "classfix", "coord_scale", "object_scale", "noobject_scale"),
    *("class_scale", "noloss", "type", "scale", "flip", "dontload", "dontloadscales"),
    *("angle", "saturation", "exposure", "shift", "mean", "std", "state_constrain", "forced"),
    *("face_scale", "box_scale", "landmark_scale", "hardest", "slope"),
    *("sample", "fraction", "positive_thresh", "negative_thresh", "negative_lowest", "border"),
    *("sigma", "class_normalizer", "box_normalizer", "train_proposals"),
}
ALIKE = {"scale": ("upsample", "detection")}  # sections in which such a key means more


def matrix():
    """The text of docs/support.md."""
    lines = [HEAD, *_sections(), "", "## Keys of every layer", "", *_table(*_common()), ""]
    lines += ["## Keys of [net]", "", *_net(), ""]
    for name in _names():
        own = {k: n for k, n in _keys(name).items() if k not in _keys("empty")}
        if own:
            lines += [f"## [{name}]", "", *_table(name, own), ""]
    return "\n".join(lines)


HEAD = """# What is supported

Every section and key that Darknet knows; [prelu], [mtcnn] and those of [Faster R-CNN](rcnn.md)
are this package's own. *Parsed*: the file is accepted. *Inference*, *training*, *export* (ONNX):
the section or key has the effect that it has in Darknet; where it has another, see
[darknet-differences.md](darknet-differences.md). Refused means an error with file and line as soon
as the key is anything but 0; any key that stands in no table is warned of, with the nearest known
one. With `track=1` recurrent sections are trained on sequences, frames that follow each other in
the list.
This page is written by `python -m yolo.inspection.support`.

## Sections
"""


def _names():
    """One name of each layer: the longest of those that build the same."""
    longest = {}
    for name, build in LAYERS.items():
        if len(name) > len(longest.get(build, "")):
            longest[build] = name
    return sorted(longest.values(), key=str.lower)


def _sections():
    rows = ["| section | parsed | inference | training | export |", "|---|---|---|---|---|"]
    for name in _names():
        others = [f"[{n}]" for n, build in LAYERS.items() if build is LAYERS[name] and n != name]
        title = f"[{name}]" + (f" = {', '.join(others)}" if others else "")
        kind = type(_layer(name)).__name__
        export = "yes" if kind in _exported() else "-"
        rows.append(f"| {title} | yes | yes | yes | {export} |")
    rows += [f"| [{name}] | refused by name | - | - | - |" for name in ABSENT]
    return rows


def _exported():
    """Names of the classes that the export to ONNX knows."""
    from ..export.layers import LAYERS as exported

    return set(exported)


def _layer(name, more=""):
    before, keys = SMALLEST.get(name, ("", ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        return Network(parse(f"{NET}{before}[{name}]\n{more}{keys}\n")).layers[-1]


def _keys(name):
    """{key: note or None} of what the layer asks its section for."""
    section = _layer(name).section
    return {key: section.notes.get(key) for key in section.known()}


def _common():
    return "", _keys("empty")


def _table(name, keys):
    rows = [
        "| key | parsed | inference | training | export | remark |",
        "|---|---|---|---|---|---|",
    ]
    for key in sorted(keys, key=str.lower):
        note = keys[key]
        if note is None:
            training = key in TRAINING and name not in ALIKE.get(key, ())
            inference = "-" if training else "yes"
            export = "yes" if not training and _exports(name, key) else "-"
            rows.append(f"| {key} | yes | {inference} | yes | {export} | |")
        elif note.startswith("refused: "):
            rows.append(f"| {key} | refused | - | - | - | {note.removeprefix('refused: ')} |")
        else:
            rows.append(f"| {key} | yes | - | - | - | {note} |")
    return rows


def _exports(name, key):
    """Whether the layer that a section with this key makes is exported."""
    try:
        made = _layer(name, f"{key}=1\n")
    except CfgError:  # 1 is no value of this key
        made = _layer(name)
    return type(made).__name__ in _exported()


def _net():
    rows = ["| key | default | remark |", "|---|---|---|"]
    for name, option in sorted(NetOptions.__dataclass_fields__.items()):
        default = option.default if isinstance(option.default, int | float | str) else "none"
        rows.append(f"| {name} | {default} | |")
    rows += [f"| {name} | 0 | a warning: {why} |" for name, why in sorted(NET_ABSENT.items())]
    rows += [f"| {name} | | no effect |" for name in sorted(NET_IGNORED)]
    return rows


if __name__ == "__main__":
    print(matrix(), end="")
