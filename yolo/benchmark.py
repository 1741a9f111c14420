"""One network in every program that is here: how fast, and how near to the exact result.

Ours in each precision, PyTorch's operators in our place, and the exported graph in the programs of
export.check, on the same images (drawn shapes) and with as many threads. The exact result is the
network in float64 on PyTorch's operators. Runs take turns, each after one that is not timed, so
that what else the machine does falls on all; times are medians.
"""

import copy
import functools
import statistics
import time
from dataclasses import dataclass

import torch

from .errors import YoloError
from .export.check import LIMITS, PROGRAMS, Missing, differing, distance, images, listed, opened
from .export.onnx import model
from .inference import compute, inference
from .ops import backend
from .ops.precision import HALVES, INFERENCE_WORDS, WORDS

# Of raw outputs: fp32 as exports are held to; in 16 bits, and with TF32, each layer rounds.
LIMIT, ROUNDED_LIMIT = LIMITS["fp32"], 0.1
ROUNDED = ("tf32", *HALVES)


@dataclass
class Row:
    """One program; what did not come about is None, and `note` says why."""

    name: str
    milliseconds: float | None = None  # of a batch, median
    images_per_second: float | None = None
    distance: float | None = None  # from the exact outputs: relative L2, the largest of the heads'
    detections: str | None = None  # "same 12", or how they differ
    agrees: bool | None = None  # whether the distance is within the limit
    note: str = ""


def benchmark(net, batch=1, repeats=7, detections=False):
    """[Row] of each program. detections: compare those too, which asks for trained weights."""
    net.eval()
    x = images(net, batch)
    wanted = exact(net, x)
    rows, running = [], {}
    for name, rounded, start in (*ours(net, x), *others(net, x)):
        row = Row(name)
        rows.append(row)
        try:
            run = start()
            judge(row, net, run(), wanted, rounded, detections)
            running[name] = run
        except Missing:
            row.note = "not installed"
        except YoloError as error:
            row.note = str(error)
    times = in_turns(running, repeats)
    for row in rows:
        if row.name in times:
            row.milliseconds = 1e3 * statistics.median(times[row.name])
            row.images_per_second = 1e3 * batch / row.milliseconds
    return rows


@torch.no_grad()
def exact(net, x):
    """Outputs of the heads (arrays) in float64, by PyTorch's operators."""
    device = next(net.parameters()).device
    with backend("torch"):
        return arrays(copy.deepcopy(net).double()(torch.from_numpy(x).to(device).double()))


def arrays(outputs):
    return [y.float().cpu().numpy() for y in outputs]


# ---- programs: (name, whether it rounds to fewer bits than float32, start), where start() gives
# a function without arguments that computes the outputs of the heads ----


def ours(net, x):
    """Our kernels in each precision of the device, then PyTorch's operators."""
    device = next(net.parameters()).device
    x = torch.from_numpy(x).to(device)

    def start(word):
        run = inference(net, len(x), word)
        return lambda: arrays(compute(run, x))

    for word in WORDS[device.type] | INFERENCE_WORDS[device.type]:
        yield f"ours {word}", word in ROUNDED, functools.partial(start, word)

    def start_torch():
        fused = net.fused()

        @torch.no_grad()
        def run():
            with backend("torch"):
                return arrays(fused(x))

        return run

    yield "torch", False, start_torch


def others(net, x):
    """The exported graph in each program of export.check; these compute on the CPU only."""
    if next(net.parameters()).device.type != "cpu":
        return
    graph = functools.cache(lambda: model(net, len(x)))

    def start(name):
        made = graph()
        try:
            run = opened(PROGRAMS[name], made, torch.get_num_threads(), lasts=False)
            run(x)
        except Missing:
            raise
        except Exception as error:  # whatever a foreign program raises
            first = str(error).strip().split("\n")[0]
            raise YoloError(f"does not run the graph: {first}") from error
        return lambda: run(x)

    for name in PROGRAMS:
        yield name, False, functools.partial(start, name)


# ---- agreement and time ----


def judge(row, net, outputs, wanted, rounded, detections):
    """Fills in how near the outputs are to the exact ones."""
    row.distance = max(distance(a, b) for a, b in zip(wanted, outputs, strict=True))
    row.agrees = row.distance <= (ROUNDED_LIMIT if rounded else LIMIT)
    if detections:
        both = [listed(net, list(map(torch.from_numpy, y))) for y in (wanted, outputs)]
        wrong = differing(*both, "fp16" if rounded else "fp32")
        row.detections = wrong or f"same {len(both[0])}"


def in_turns(running, repeats):
    """{name: seconds of each round}; every second round goes the other way."""
    times = {name: [] for name in running}
    for i in range(repeats):
        order = list(running.items())
        for name, run in order if i % 2 == 0 else reversed(order):
            run()
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return times


def report(rows):
    """The table that is printed; `speed` is relative to the first row."""
    lines = [f"{'program':<14}{'images/s':>10}{'ms':>10}{'speed':>8}{'distance':>11}  detections"]
    first = next((row.milliseconds for row in rows if row.milliseconds), None)
    for row in rows:
        if row.milliseconds is None:
            lines.append(f"{row.name:<14}{row.note}")
            continue
        end = row.detections or "not compared"
        lines.append(
            f"{row.name:<14}{row.images_per_second:>10.2f}{row.milliseconds:>10.1f}"
            f"{first / row.milliseconds:>8.2f}{row.distance:>11.1e}  {end}"
            + ("" if row.agrees else "  OUTPUTS DIFFER")
        )
    return "\n".join(lines)
