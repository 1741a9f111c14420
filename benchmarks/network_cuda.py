"""`bench_network.py --device cuda`: inference of whole networks, our plan beside PyTorch at its
best: the folded network in channels_last on cuDNN, eager, compiled, and either as a CUDA graph.
Each is a row, and named; the report marks the fastest.
"""

import torch
from gpu_timing import (
    Tries,
    Wrong,
    at_its_best,
    compare,
    footprint,
    graphed,
    machine,
    relative,
    save,
    timed,
)
from shapes import ceiling_of, network_floor
from training_step import as_pytorch

from yolo import ops
from yolo.plan.cuda import CudaPlan

# relative L2 of the heads, random weights: layers round one after the other
LIMITS = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 0.1, "fp16": 2e-2}
MODES = ("eager", "graph", "compiled", "compiled-graph")


def peer(net, x, precision, mode):
    """The folded network as users of PyTorch write it: a function without arguments."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    x = x.to(dtype, memory_format=torch.channels_last)
    run = as_pytorch(net.fused().to(dtype), torch.channels_last)
    if "compiled" in mode:
        run = torch.compile(run, mode="max-autotune-no-cudagraphs", dynamic=False)

    @torch.no_grad()
    def forward():
        with ops.backend("torch"):
            return run(x)

    return graphed(forward) if "graph" in mode else forward


def measure(net, batch, precision, pairs, modes, tries, clock=timed):
    """The row of each mode."""
    x = torch.rand(batch, *net.input_shape, device=next(net.parameters()).device)

    def build():
        plan = CudaPlan(net.fused(), batch, precision)
        if plan.fallback:
            raise ValueError(f"no plan: {plan.fallback}")
        return lambda: plan(x)

    ours, our_bytes = footprint(build)
    for mode in modes:
        with tries.of(f"{net.cfg_path}, {mode}"):
            theirs, peer_bytes = footprint(lambda mode=mode: peer(net, x, precision, mode))
            error = relative(ours(), theirs())
            if not error <= LIMITS[precision]:
                raise Wrong(f"the heads differ by {error:.1e}")
            row = compare([ours], [theirs], pairs, clock)._asdict()
            # what a graph holds is not seen; ours keeps its maps outside of it
            sizes = {"our_bytes": our_bytes, "peer_bytes": None if "graph" in mode else peer_bytes}
            yield row | sizes | {"peer_mode": mode, "error": error}


def run(cases, precision, pairs, path, modes=MODES):
    """cases: (name, network on the GPU, batch)"""
    at_its_best(precision)
    content = {"kind": "network", "machine": machine(), "precision": precision, "rows": []}
    ceiling = ceiling_of(content["machine"]["device"])
    tries = Tries()
    for name, net, batch in cases:
        case = net.cfg_path, batch, net.input_shape[1:]
        least = network_floor(*case, ("forward",), precision, ceiling)
        with tries.of(f"{name}, ours"):
            for row in measure(net, batch, precision, pairs, modes, tries):
                row |= {"network": name, "size": net.input_shape[1], "batch": batch}
                row["of_floor"] = least / row["ours"]
                content["rows"].append(row)
                save(path, content)
                print(line(row, precision), flush=True)
    tries.finish()


def line(row, precision):
    return (
        f"{row['network']} {row['size']} batch {row['batch']} {precision}: "
        f"ours {row['ours'] * 1e3:.3f} ms, {row['peer_mode']} {row['peer'] * 1e3:.3f} ms, "
        f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
    )
