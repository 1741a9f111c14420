"""The same photographs and weights through six programs, and how far each is from the others.

    python benchmarks/agreement.py --cfg N.cfg --weights N.weights --photos DIR \\
        --reference R.json [--write]

R.json is what `darknet detector test ... -thresh 0.1 -out R.json` wrote for the photographs. Each
program's outputs are decoded and suppressed by this package at the same threshold. Columns:
relative L2 distance of the raw outputs from the network in float64; of Darknet's detections how
many are found, the smallest IoU with them and the largest difference in confidence; detections
that Darknet does not have. --write puts the table into docs/export.md.
"""

import argparse
import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import yolo  # noqa: E402
from yolo import boxes as box  # noqa: E402
from yolo import ops  # noqa: E402
from yolo.data.image import fit, read  # noqa: E402
from yolo.export.check import PROGRAMS, distance, opened  # noqa: E402
from yolo.export.onnx import model  # noqa: E402
from yolo.plan import Plan  # noqa: E402
from yolo.predict import decode, detection_heads  # noqa: E402

THRESH, NMS = 0.1, 0.45


def programs(net):
    """{name: function of x (1, C, H, W) that gives the heads' outputs as arrays}"""
    fused = net.fused()

    def plan(precision):
        compiled = Plan(fused, precision=precision)
        return lambda x: [y.numpy() for y in compiled(x)]

    def by_torch(x):
        with ops.backend("torch"):
            return [y.numpy() for y in fused(x)]

    found = {
        "this package, fast": plan("fast"),
        "this package, exact": plan("exact"),
        'backend("torch")': by_torch,
    }
    made = model(net)
    for name, start in PROGRAMS.items():
        run = opened(start, made)
        found[label(name)] = lambda x, run=run: run(x.numpy())
    return found


def label(name):
    """A program's name with its version."""
    if name == "opencv":
        import cv2

        return f"OpenCV {cv2.__version__}"
    title = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[name]
    version = import_module(name).__version__
    return f"{title} {version.split('-')[0]}"


def detections(net, outputs):
    """[(class, score, xywh)] of one image, as Darknet's JSON has them."""
    last = detection_heads(net)[-1][1]
    found = decode(net, [torch.from_numpy(y) for y in outputs], THRESH)[0]
    found = found.suppressed(NMS, last.nms_kind, last.beta_nms)
    rows, classes = torch.nonzero(found.probs, as_tuple=True)
    return [
        (int(c), float(found.probs[r, c]), found.boxes_xywh[r])
        for r, c in zip(rows, classes, strict=True)
    ]


def matched(ours, reference):
    """[(IoU, difference of confidence)] of Darknet's detections that were found; others of ours."""
    left, pairs = list(ours), []
    for entry in reference:
        place = entry["relative_coordinates"]
        wanted = torch.tensor([place[k] for k in ("center_x", "center_y", "width", "height")])
        same = [d for d in left if d[0] == entry["class_id"]]
        if not same:
            continue
        overlaps = [float(box.iou(d[2], wanted)) for d in same]
        best = int(np.argmax(overlaps))
        if overlaps[best] > 0.5:
            pairs.append((overlaps[best], abs(same[best][1] - entry["confidence"])))
            left = [d for d in left if d is not same[best]]
    return pairs, left


@torch.no_grad()
def compare(net, photos, reference):
    """Rows of the table."""
    with ops.backend("torch"):
        exact = net.fused().double()
    results = {name: ([], [], 0) for name in programs(net)}
    runs, total = programs(net), 0
    for entry in reference:
        x, _ = fit(read(photos / entry["filename"]), *net.input_shape[1:])
        x = torch.from_numpy(x)[None]
        with ops.backend("torch"):
            truth = [y.numpy() for y in exact(x.double())]
        total += len(entry["objects"])
        for name, run in runs.items():
            outputs = run(x)
            far, pairs, others = results[name]
            far += [distance(a, b) for a, b in zip(truth, outputs, strict=True)]
            found, left = matched(detections(net, outputs), entry["objects"])
            results[name] = far, pairs + found, others + len(left)
    return [
        (name, max(far), len(pairs), min(p[0] for p in pairs), max(p[1] for p in pairs), others)
        for name, (far, pairs, others) in results.items()
    ], total


def table(rows, total, args, photos):
    """Markdown."""
    lines = [
        f"{Path(args.cfg).stem}, {photos} photographs, {total} detections by Darknet:",
        "",
        "| program | raw outputs against float64 | of Darknet's found | smallest IoU | "
        "largest difference in confidence | others |",
        "|---|---|---|---|---|---|",
    ]
    for name, far, found, iou, confidence, others in rows:
        lines.append(
            f"| {name} | {far:.1e} | {found} of {total} | {iou:.4f} | {confidence:.4f} | {others} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ("--cfg", "--weights", "--photos", "--reference"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--write", action="store_true", help="into docs/export.md")
    args = parser.parse_args()
    net = yolo.load(args.cfg, args.weights)
    reference = json.loads(Path(args.reference).read_text())
    text = table(*compare(net, Path(args.photos), reference), args, len(reference))
    print(text)
    if args.write:
        page = ROOT / "docs" / "export.md"
        marks = r"(<!-- agreement -->\n).*?(<!-- /agreement -->)"
        new = re.sub(marks, lambda m: f"{m[1]}{text}\n{m[2]}", page.read_text(), flags=re.S)
        page.write_text(new)


if __name__ == "__main__":
    main()
