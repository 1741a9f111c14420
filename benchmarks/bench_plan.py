"""Inference plans beside PyTorch (and ONNX Runtime, where a model can be exported), one process.

    python benchmarks/bench_plan.py yolov4-tiny:416 yolov3:416 --threads 2 --repeats 20

Rounds alternate between the contestants. `clock` is the median on the wall; `processor` is the
processor time of one forward on a single thread, least of all rounds: other programs on the machine
lengthen the former, not the latter. Weights are random, of the shapes of the cfg.
"""

import argparse
import io
import time
from pathlib import Path
from statistics import median

import torch

import yolo
from yolo.ops import backend
from yolo.plan import Plan

CFG = Path(__file__).resolve().parents[1] / "cfg"


def settle(net):
    """Statistics such that values keep their size from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


class Eager(torch.nn.Module):
    """The fused network through PyTorch's operators."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        with backend("torch"):
            return self.net(x)


def onnx_session(eager, x, threads):
    """The same network in ONNX Runtime, or None where there is no exporter."""
    try:
        import onnxruntime

        model = io.BytesIO()
        torch.onnx.export(eager, (x,), model, dynamo=False)
    except Exception as error:
        print(f"  no ONNX Runtime: {type(error).__name__}: {str(error)[:90]}")
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.getvalue(), options)
    return lambda x: session.run(None, {session.get_inputs()[0].name: x.numpy()})


def contestants(net, x, threads):
    fused = net.fused()
    eager = Eager(fused)
    found = {"plan": Plan(fused, len(x), threads), "torch": eager}
    last = Eager(net.fused().to(memory_format=torch.channels_last))
    found["torch channels_last"] = lambda x: last(x.to(memory_format=torch.channels_last))
    session = onnx_session(eager, x, threads)
    if session:
        found["onnxruntime"] = session
    return found


@torch.no_grad()
def race(found, x, repeats, clock):
    """{name: seconds of each round}, all in turn in every round, after one to warm up."""
    rounds = {name: [] for name in found}
    for i in range(repeats + 1):
        for name, run in found.items():
            start = clock()
            run(x)
            if i:
                rounds[name].append(clock() - start)
    return rounds


def bench(name, size, threads, repeats):
    net = settle(yolo.load(CFG / f"{name}.cfg").resize(size, size))
    x = torch.rand(1, *net.input_shape)
    columns = {}
    for count, clock, least in ((threads, time.perf_counter, median), (1, time.thread_time, min)):
        torch.set_num_threads(count)
        rounds = race(contestants(net, x, count), x, repeats, clock)
        columns[clock] = {name: 1e3 * least(times) for name, times in rounds.items()}
    wall, processor = columns.values()
    for peer in wall:
        ratio = wall[peer] / wall["plan"], processor[peer] / processor["plan"]
        print(
            f"{name:12s} {size:4d}  {peer:20s} {wall[peer]:9.2f} ms x{ratio[0]:5.2f}"
            f" {processor[peer]:9.2f} ms x{ratio[1]:5.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="cfg:size")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    print(
        f"torch {torch.__version__}, {args.threads} threads, batch 1; clock, processor (1 thread)"
    )
    for network in args.networks:
        name, size = network.split(":")
        bench(name, int(size), args.threads, args.repeats)


if __name__ == "__main__":
    main()
