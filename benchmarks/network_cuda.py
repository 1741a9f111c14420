"""`bench_network.py --device cuda`: inference of whole networks, our plan beside PyTorch at its
best: the folded network in channels_last on cuDNN, eager, compiled, and as a CUDA graph. The
fastest of these is the peer, and is named.
"""

import json

import torch
from gpu_timing import at_its_best, compare, graphed, machine, relative

from yolo import ops
from yolo.plan.cuda import CudaPlan

# relative L2 of the heads, random weights: layers round one after the other
LIMITS = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 0.1, "fp16": 2e-2}
MODES = ("eager", "compiled", "graph")


def peers(net, x, precision, modes):
    """name -> a function of the folded network on PyTorch's operators."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    last = {"memory_format": torch.channels_last}
    folded, x = net.to(dtype=dtype, **last), x.to(dtype=dtype, **last)

    @torch.no_grad()
    def eager():
        with ops.backend("torch"):
            return folded(x)

    found = {"eager": eager}
    if "compiled" in modes:
        found["compiled"] = torch.compile(eager, mode="max-autotune-no-cudagraphs")
    if "graph" in modes:
        found["graph"] = graphed(found.get("compiled", eager))
    return {name: found[name] for name in modes}


def measure(net, batch, precision, pairs, modes=MODES):
    """[row of each mode]; the first row has the fastest."""
    x = torch.rand(batch, *net.input_shape, device="cuda")
    plan = CudaPlan(net.fused(), batch, precision)
    if plan.fallback:
        raise SystemExit(f"no plan: {plan.fallback}")
    others = peers(net.fused(), x, precision, modes)
    error = relative(plan(x), others["eager"]())
    if not error <= LIMITS[precision]:
        raise SystemExit(f"the heads differ by {error:.1e}")
    rows = [
        compare([lambda: plan(x)], [other], pairs)._asdict() | {"peer_mode": name, "error": error}
        for name, other in others.items()
    ]
    return sorted(rows, key=lambda row: row["peer"])


def run(cases, precision, pairs, path):
    """cases: (name, network on the GPU, batch)"""
    at_its_best(precision)
    content = {"kind": "network", "machine": machine(), "precision": precision, "rows": []}
    for name, net, batch in cases:
        for row in measure(net, batch, precision, pairs):
            row |= {"network": name, "size": net.input_shape[1], "batch": batch}
            content["rows"].append(row)
            print(
                f"{name} {row['size']} batch {batch} {precision}: ours {row['ours'] * 1e3:.3f} ms, "
                f"{row['peer_mode']} {row['peer'] * 1e3:.3f} ms, {row['ratio']:.2f} "
                f"({row['low']:.2f}-{row['high']:.2f})",
                flush=True,
            )
    content["after"] = machine()
    if path:
        path.write_text(json.dumps(content, indent=1))
