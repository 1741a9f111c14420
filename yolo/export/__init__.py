"""A network in other programs' formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import YoloError

if TYPE_CHECKING:
    from os import PathLike

    from ..network import Network


def to_onnx(
    net: Network,
    path: str | PathLike[str],
    nodes: str = "heads",
    batch: int | None = 1,
    opset: int = 18,
    fp16: bool = False,
    thresh: float = 0.25,
    nms: float = 0.45,
    metadata: dict[str, str] | None = None,
    programs: list[str] | None = None,
) -> dict[str, float | None]:
    """Writes `net` at its present input size as an ONNX file, once other programs run it and agree.

    nodes: "heads" (Darknet's outputs), "boxes" (decoded, with scores) or "detections" (what
        suppression leaves of them: thresh, nms).
    batch: images of one run; None: any number.
    fp16: weights and sums in half precision.
    metadata: {name: text} beside what describes the preprocessing.
    programs: of "onnxruntime", "opencv", "openvino", those that must agree; None: those installed.

    Returns {program: its largest relative distance, or None where detections were compared}.
    Raises ExportError where a layer has no form, or a program disagrees: then no file is left.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise YoloError(f"export needs {error.name}: pip install 'darknet-torch[export]'") from None
    from ..files import atomic
    from .check import PROGRAMS, check
    from .graph import ExportError
    from .half import halved
    from .onnx import model

    if unknown := set(programs or ()) - set(PROGRAMS):
        raise ExportError(f"check by {', '.join(unknown)}: choose from {', '.join(PROGRAMS)}")
    made = model(net, batch, nodes, opset, thresh, nms, metadata)
    if fp16:
        made = halved(made)
    precision = "fp16" if fp16 else "fp32"
    agreed: dict[str, float | None] = check(
        net, made, nodes, batch, precision, thresh, nms, programs
    )
    out = Path(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic(out, made.SerializeToString())
    return agreed
