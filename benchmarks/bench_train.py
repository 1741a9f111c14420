"""A training step on a GPU (forward, loss, backward, update), ours beside PyTorch's operators.

    python benchmarks/bench_train.py --cfg cfg/yolov4.cfg --size 608 --batch 16 --precision bf16

The peer is the same network on cuDNN in channels_last under autocast, eager and compiled. Gradients
of both are compared first; then ABBA pairs. Peak memory is that of one step after a warm one.
"""

# ruff: noqa: E402
import argparse
import copy
import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench_network import network
from gpu_timing import at_its_best, compare, machine

from yolo import ops
from yolo.optimizer import DarknetSGD

COSINE = 0.99  # of all gradients taken together; each side rounds in its own places
RATE = 1e-6


def truths(batch):
    """Ten boxes an image."""
    boxes = torch.rand(10 * batch, 6) * 0.4 + 0.3
    boxes[:, 0], boxes[:, 1] = torch.arange(10 * batch) // 10, 0
    return boxes.cuda()


def our_step(net, x, boxes, precision):
    optimizer = DarknetSGD(net)

    def step(update=True):
        with ops.precision(precision):
            net.loss(x, boxes).total.backward()
        if update:
            optimizer.step(RATE, len(x), 1)

    return step


def peer_step(net, x, boxes, precision, compiled):
    optimizer = DarknetSGD(net)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    forward = torch.compile(net.loss) if compiled else net.loss

    def step(update=True):
        with (
            ops.backend("torch"),
            torch.autocast("cuda", dtype or torch.bfloat16, enabled=dtype is not None),
        ):
            total = forward(x, boxes).total
        with ops.backend("torch"):
            total.backward()
            if update:
                optimizer.step(RATE, len(x), 1)

    return step


def gradients(net, step):
    step(update=False)
    found = torch.cat([p.grad.flatten().float() for p in net.parameters() if p.grad is not None])
    net.zero_grad(set_to_none=True)
    return found


def peak(step):
    """Bytes at most during a step."""
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated()


def measure(settings):
    """[row of each mode of the peer]"""
    net = network(settings.cfg, settings.size).cuda().train()
    x = torch.rand(settings.batch, *net.input_shape, device="cuda")
    boxes = truths(settings.batch)
    twin = copy.deepcopy(net).to(memory_format=torch.channels_last)
    ours = our_step(net, x, boxes, settings.precision)
    last = x.to(memory_format=torch.channels_last)
    rows = []
    for mode in settings.modes:
        peer = peer_step(twin, last, boxes, settings.precision, mode == "compiled")
        cosine = torch.cosine_similarity(gradients(net, ours), gradients(twin, peer), 0).item()
        if not cosine >= COSINE:
            raise SystemExit(f"gradients point apart: cosine {cosine:.4f}")
        memory = {"our_bytes": peak(ours), "peer_bytes": peak(peer)}
        row = compare([ours], [peer], settings.pairs)._asdict()
        rows.append(row | memory | {"peer_mode": mode, "cosine": cosine})
    return rows


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cfg", default=str(ROOT / "cfg" / "yolov4.cfg"))
    parser.add_argument("--size", type=int, default=608)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", choices=("bf16", "tf32", "fp32"), default="bf16")
    parser.add_argument("--modes", nargs="+", choices=("eager", "compiled"), default=["eager"])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser.parse_args(arguments)


def main(arguments=None):
    settings = parse(arguments)
    if not torch.cuda.is_available():
        raise SystemExit("bench_train.py needs a GPU; bench_network.py --train measures a CPU")
    at_its_best(settings.precision)
    content = {"kind": "train", "machine": machine(), "precision": settings.precision}
    content["rows"] = measure(settings)
    for row in content["rows"]:
        row |= {"network": Path(settings.cfg).stem, "size": settings.size, "batch": settings.batch}
        print(
            f"{row['network']} {row['size']} batch {row['batch']}: "
            f"ours {row['ours'] * 1e3:.1f} ms, {row['peer_mode']} {row['peer'] * 1e3:.1f} ms, "
            f"{row['ratio']:.2f} "
            f"({row['low']:.2f}-{row['high']:.2f}); memory "
            f"{row['our_bytes'] / 2**30:.2f} of {row['peer_bytes'] / 2**30:.2f} GiB"
        )
    if settings.json:
        settings.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
