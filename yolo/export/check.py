"""An exported graph is run in the programs that are there and compared with the network itself.

    raw outputs    relative L2 distance of each output at most LIMITS[precision]
    detections     above 0.25 the same classes, each box with an IoU of at least 0.999 (fp16: 0.97)
                   or with edges within a millionth of the input's side

The images are fixed: drawn shapes on textures, made at the network's size.
"""

import numpy as np
import torch

from .. import boxes as box
from ..data.shapes import ShapesDataset
from ..ops import precision as within
from ..predict import decode
from .graph import ExportError, Graph
from .onnx import detection_heads, finished, run_layers
from .order import as_ours

LIMITS = {"fp32": 1e-4, "fp16": 2e-2}
EDGE = {"fp32": 1e-4, "fp16": 2e-2}  # scores so near to the threshold may fall on either side
SAME_BOX = {"fp32": 0.999, "fp16": 0.97}
ROUNDING = 1e-6  # of edges, relative to the input
THRESH, NMS = 0.25, 0.45
STEPS = 3  # images of each stream, where there is a state


class Missing(Exception):
    """A program is not installed."""


# ---- programs: (bytes of the model, names of the outputs, threads) -> function of the inputs,
# {name: array}, that gives the outputs ----


def onnxruntime(model, names, threads=None):
    try:
        import onnxruntime as runtime
    except ImportError:
        raise Missing from None
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.force_spinning_stop", "1")  # between two runs
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(names, inputs)


def opencv(model, names, threads=None):
    import cv2

    if threads:
        cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def run(inputs):
        for name, values in inputs.items():
            net.setInput(values, name)
        return net.forward(names)

    return run


def openvino(model, names, threads=None):
    try:
        import openvino as ov
    except ImportError:
        raise Missing from None
    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads or 0}
    compiled = core.compile_model(core.read_model(model), "CPU", settings)

    def run(inputs):
        results = compiled(inputs)
        return [results[name] for name in names]

    return run


PROGRAMS = {"onnxruntime": onnxruntime, "opencv": opencv, "openvino": openvino}


def opened(start, model, threads=None, lasts=True):
    """A program on a ModelProto, as a function of images that gives the outputs. The states of
    recurrent layers begin at 0, and last from call to call as the network's do, unless told."""
    states = {i.name: i.type.tensor_type.shape.dim for i in model.graph.input[1:]}
    names = [output.name for output in model.graph.output]
    run, held = start(model.SerializeToString(), names, threads), {}

    def step(x):
        for name, (_, *sides) in states.items():
            held.setdefault(name, np.zeros((len(x), *(d.dim_value for d in sides)), np.float32))
        outputs = dict(zip(names, map(np.asarray, run({"images": x} | held)), strict=True))
        after = {name: outputs.pop(f"next_{name}") for name in states}
        held.update(after if lasts else {})
        return list(outputs.values())

    return step


# ---- comparison ----


def images(net, count):
    """(count, C, H, W) float32: drawn shapes, the first channels of them where C < 3."""
    channels, height, width = net.input_shape
    drawn = ShapesDataset(6, count, (height, width), seed=1, split="valid")
    x = np.stack([drawn[i].image for i in range(count)]).transpose(0, 3, 1, 2)
    repeats = -(-channels // 3)
    return np.ascontiguousarray(np.tile(x, (1, repeats, 1, 1))[:, :channels], np.float32) / 255


def distance(ours, theirs):
    """Relative L2; infinite where shapes differ, NaN where either holds one."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(ours), 1e-30))


def expected(net, x, nodes, thresh, nms):
    """What the graph should give for x: a list of arrays, in the order of its outputs. net: with
    batch normalisation folded."""
    with torch.no_grad(), within("exact"):
        outputs = net(torch.from_numpy(x))
    if nodes == "heads":
        return [y.numpy() for y in outputs]
    boxes, scores = [], []
    for position, layer in detection_heads(net):
        xywh, objectness, classes = layer.decode(outputs[position], net.input_shape[1:])
        boxes.append(box.xywh_to_xyxy(xywh))
        scores.append(objectness[..., None] * classes)
    if nodes == "boxes":
        return [torch.cat(boxes, 1).numpy(), torch.cat(scores, 1).numpy()]
    return [listed(net, outputs, thresh, nms)]


def listed(net, outputs, thresh=THRESH, nms=NMS):
    """(n, 7) of all images: image, x1, y1, x2, y2, score, class after suppression by IoU."""
    found = decode(net, outputs, thresh)
    return np.concatenate([rows(candidates, image, nms) for image, candidates in enumerate(found)])


def rows(candidates, image, nms):
    """Those of one image."""
    found = candidates.suppressed(nms)
    at, classes = torch.nonzero(found.probs, as_tuple=True)
    corners = box.xywh_to_xyxy(found.boxes_xywh[at])
    columns = torch.full_like(classes, image), found.probs[at, classes], classes
    image, score, label = (column.float()[:, None] for column in columns)
    return torch.cat([image, corners, score, label], 1).numpy()


def compare(net, outputs, wanted, nodes, precision, thresh=THRESH):
    """(largest distance of raw outputs, or None; what is wrong, or None)."""
    if nodes == "detections":
        return None, differing(wanted[0], outputs[0], precision, thresh)
    outputs = as_ours(net, wanted, outputs, nodes)
    worst = max(distance(a, b) for a, b in zip(wanted, outputs, strict=True))
    if not worst <= LIMITS[precision]:
        return worst, f"raw outputs differ by {worst:.2g}, more than {LIMITS[precision]:g}"
    if nodes == "heads" and any(hasattr(net.layers[i], "decode") for i in net.heads):
        both = [listed(net, list(map(torch.from_numpy, y))) for y in (wanted, outputs)]
        return worst, differing(*both, precision)
    return worst, None


def differing(wanted, found, precision, thresh=THRESH):
    """How two lists of detections (n, 7) above `thresh` differ, or None."""
    sure = thresh + EDGE[precision]
    left = np.ones(len(found), dtype=bool)
    for row in wanted:
        same = np.flatnonzero(left & (found[:, 0] == row[0]) & (found[:, 6] == row[6]))
        near = overlaps(row, found[same])
        if len(near) and near.max() >= SAME_BOX[precision]:
            left[same[near.argmax()]] = False
        elif not row[5] <= sure:
            return f"no box like that of class {int(row[6])} with score {row[5]:.3f}"
    for row in found[left]:
        if not row[5] <= sure:
            return f"a box of class {int(row[6])} with score {row[5]:.3f} too many"
    return None


def overlaps(one, others):
    """IoU of a detection with each of the others (n, 7); 1 where their edges are the same but for
    rounding, which would count in a box that is nearly empty."""
    edges, all_edges = one[None, 1:5], others[:, 1:5]
    iou = box.iou_matrix(torch.from_numpy(edges), torch.from_numpy(all_edges))[0].numpy()
    return np.where(np.abs(edges - all_edges).max(1) <= ROUNDING, 1.0, iou)


def check(net, model, nodes, batch, precision="fp32", thresh=THRESH, nms=NMS, programs=None):
    """{program: largest distance, or None} of those that are installed; raises an ExportError that
    names the program and the first layer that differs. programs: those that must be there."""
    if nodes == "detections" and programs is None:
        programs = ["onnxruntime"]
    steps = STEPS if len(model.graph.input) > 1 else 1
    x = np.split(images(net, steps * (batch or 2)), steps)
    fused = net.fused()
    wanted = [expected(fused, part, nodes, thresh, nms) for part in x]
    if not all(np.isfinite(y).all() for outputs in wanted for y in outputs):
        raise ExportError(
            f"{net.cfg_path}: the network's own outputs are not finite, so nothing can agree with "
            "them: its statistics of batch normalisation come from too short a training"
        )
    results = {}
    for name in programs or PROGRAMS:
        if name == "opencv" and nodes == "detections" and not all(len(y) for (y,) in wanted):
            raise ExportError(
                f"{net.cfg_path}: finds nothing above {thresh:g} in the images of the check, and "
                "opencv ends the process where suppression leaves nothing: lower --thresh, or "
                "check in onnxruntime"
            )
        try:
            run = opened(PROGRAMS[name], model)
            outputs = [run(part) for part in x]
        except Missing:
            if programs:
                raise ExportError(
                    f"{name} is not installed, so the graph cannot be checked"
                ) from None
            continue
        except Exception as error:  # whatever a foreign program raises
            first = str(error).strip().split("\n")[0]
            raise ExportError(f"{name} does not run the graph: {first}") from error
        found = [
            compare(net, *both, nodes, precision, thresh)
            for both in zip(outputs, wanted, strict=True)
        ]
        if wrong := next((text for _, text in found if text), None):
            where = first_difference(net, x[0], LIMITS[precision]) if name == "onnxruntime" else ""
            raise ExportError(f"{name}: {wrong}{where}")
        distances = [worst for worst, _ in found if worst is not None]
        results[name] = max(distances, default=None)
    if not results:
        raise ExportError(
            "no program is installed that could check the graph: pip install onnxruntime"
        )
    return results


def first_difference(net, x, limit):
    """Names the first layer whose output differs in ONNX Runtime."""
    net = net.fused()
    graph = Graph(len(x), opset=18)
    run_layers(graph, net)
    outputs = []
    for layer in net.layers:
        name = graph.add("Identity", [graph.names[layer.index]], name=f"layer_{layer.index}")
        outputs.append(graph.value_of(name, layer))
    theirs = opened(onnxruntime, finished(graph, net, outputs, {}))(x)
    with torch.no_grad(), within("exact"):
        ours = net.outputs(torch.from_numpy(x))
    for layer, a, b in zip(net.layers, ours, theirs, strict=True):
        apart = distance(a.numpy(), b)
        if not apart <= limit:
            return f"; first at layer {layer.index} [{layer.section.name}], by {apart:.2g}"
    return "; every layer by itself agrees"
