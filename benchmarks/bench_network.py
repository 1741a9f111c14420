"""Whole networks on the CPU: inference, ours beside PyTorch's operators; --train: training_step.py.

    python benchmarks/bench_network.py                       the two figures of README
    python benchmarks/bench_network.py --cfg cfg/yolov4.cfg --size 608 --batch 1 --infer
    python benchmarks/bench_network.py --device cuda --precision bf16 --batch 16 yolov3:416
    python benchmarks/bench_network.py --peers openvino,onnxruntime,opencv,torch yolov3:416

All sides compute the same network in the same process, first once each to compare the results,
then in turns; the ratio is the median over the turns (above 1: ours is quicker). Weights are
random unless a .weights file lies beside the cfg; so is the input. The peers come with the extra
[peers].
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import training_step
from gpu_timing import require_gpu
from network_cuda import MODES
from network_cuda import run as race_cuda
from timing import header, paired, race, ratio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import PEERS, open_peers

from yolo import cfg, ops, weights
from yolo.network import Network
from yolo.plan import Plan

# What Darknet (AVX2, OpenMP) took on a two-core machine of the same kind, in seconds.
DARKNET = {("yolov3", 416, 1): 1.05}
# Relative L2 between the two sides, by precision: in bf16 each layer rounds to 8 bits.
AGREE = {"fp32": 1e-3, "bf16": 0.1}
CFG = Path(__file__).resolve().parents[1] / "cfg"
WEIGHTS = CFG.parents[1] / "shared" / "data" / "weights"
NETWORKS = (
    *("yolov3:416", "yolov4:608", "yolov4-tiny:416", "yolov3-tiny:416"),
    "yolo-fastest-1.1-xl:320",
)


@dataclass
class Case:
    """One network at one size: two functions that compute the same, and what they returned."""

    name: str
    ours: object
    peer: object


def network(path, size, seed=0):
    """The network of a cfg at another input size."""
    sections = cfg.read(path)
    sections[0].set("width", size)
    sections[0].set("height", size)
    net = Network(sections, seed=seed)
    for name, buffer in net.named_buffers():
        if name.endswith("rolling_var"):
            buffer.fill_(1 / 3)  # keeps the size of values from layer to layer; 0 overflows
    trained = Path(path).with_suffix(".weights")
    if trained.exists():
        weights.load(net, trained)
    return net


def inference(path, size, batch):
    """Forward of the compiled plan against the folded network on PyTorch's operators."""
    folded = network(path, size).fused()
    plan, x = Plan(folded, batch=batch), torch.rand(batch, *folded.input_shape)

    @torch.no_grad()
    def peer():
        with ops.backend("torch"):
            return folded(x)

    return Case(Path(path).stem, lambda: plan(x), peer)


def difference(ours, peer):
    """Relative L2 distance between two lists of tensors, taken together."""
    ours, peer = (torch.cat([t.flatten() for t in side]).double() for side in (ours, peer))
    return float((ours - peer).norm() / peer.norm())


def run(case, size, batch, repeats):
    """Checks, times and prints one case."""
    error = difference(case.ours(), case.peer())
    if not error <= AGREE["fp32"]:
        raise SystemExit(f"{case.name}: the two sides differ by {error:.1e}")
    times = paired(case.ours, case.peer, repeats)
    darknet = DARKNET.get((case.name, size, batch))
    against = f"{darknet / times.ours:6.2f}" if darknet else "     -"
    print(
        f"{case.name:<14}{size:>5}{batch:>4}{1e3 * times.ours:>11.1f}"
        f"{1e3 * times.peer:>11.1f}{times.ratio:>8.2f}{against:>9}   {error:.1e}"
    )


def race_peers(name, size, batch, args):
    """Our plan against every peer: checked, timed in turns, one line each."""
    path = Path(name) if name.endswith(".cfg") else CFG / f"{name}.cfg"
    net = network(path if path.exists() else WEIGHTS / path.name, size).fused()
    x = torch.rand(batch, *net.input_shape)
    precision = {"fp32": "fast"}.get(args.precision, args.precision)
    ours = Plan(net, batch, args.threads, precision)
    found = {"ours": ours, **open_peers(args.peers, net, x, args.threads, args.precision)}
    expected = ours(x)
    for peer, function in found.items():
        error = difference(function(x), expected)
        if not error <= AGREE[args.precision]:
            raise SystemExit(f"{name}: {peer} differs from ours by {error:.1e}")
    rounds = race({k: lambda f=f: f(x) for k, f in found.items()}, args.repeats)
    for peer, times in rounds.items():
        middle, spread = ratio(rounds["ours"], times)
        print(
            f"{path.stem:<20}{size:>4}{batch:>3} {args.precision:<5}{peer:<20}"
            f"{1e3 * statistics.median(times):>9.1f} ms  x{middle:5.2f} +-{spread:.2f}",
            flush=True,
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="cfg:size", help="raced against --peers")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--peers", type=lambda text: text.split(","), help=", ".join(PEERS))
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16", "fp16"),
        default="fp32",
        help="with --peers (fp32, bf16) or --device cuda",
    )
    parser.add_argument("--json", type=Path, help="--device cuda: write the rows there")
    parser.add_argument("--cfg", help="one network instead of the two of README")
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--infer", action="store_true")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--modes", nargs="+", choices=MODES, default=MODES, help="--device cuda: PyTorch's"
    )
    parser.add_argument("--pairs", type=int, default=50, help="--device cuda: ABBA pairs")
    args = parser.parse_args(arguments)
    if unknown := set(args.peers or ()) - set(PEERS):
        parser.error(f"--peers: no {', '.join(sorted(unknown))}; choose from {', '.join(PEERS)}")
    if args.device == "cpu" and args.precision not in AGREE:
        parser.error(f"--precision {args.precision} is for --device cuda")
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        return on_cuda(args)
    print(header(args.threads))
    if args.peers:
        for item in args.networks or NETWORKS:
            name, size = item.split(":")
            race_peers(name, int(size), args.batch, args)
        return
    compare_torch(args)


def on_cuda(args):
    """Our CUDA plan beside PyTorch at its best."""
    require_gpu("bench_network.py --device cuda")
    cases = []
    for item in args.networks or ("yolov3:416", "yolov4:608"):
        name, size = item.split(":")
        path = Path(name) if name.endswith(".cfg") else CFG / f"{name}.cfg"
        cases.append((path.stem, network(path, int(size)).eval().to("cuda"), args.batch))
    race_cuda(cases, args.precision, args.pairs, args.json, args.modes)


def compare_torch(args):
    """Ours and PyTorch's operators through the same network: inference, training or both."""
    both = args.infer == args.train
    if both or args.infer:
        compare_inference(args.cfg or CFG / "yolov3.cfg", args.size, args.batch, args)
    if both or args.train:
        name, batch = (args.cfg, args.batch) if args.cfg else ("yolov4-tiny", 8)
        training_step.compare(name, args.size, batch, args)


def compare_inference(path, size, batch, args):
    print(
        f"{'network':<14}{'size':>5}{'N':>4}{'ours ms':>11}{'torch ms':>11}"
        f"{'ratio':>8}{'Darknet':>9}   difference"
    )
    run(inference(path, size, batch), size, batch, args.repeats)
    if not args.cfg:
        print("Darknet: its time on a machine of this kind (1050 ms) / ours")


if __name__ == "__main__":
    main()
