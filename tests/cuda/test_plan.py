"""A network as one list of CUDA calls, against the network layer by layer."""

import pytest
import torch

from yolo import cfg, ops
from yolo.network import Network
from yolo.ops.cuda import CudaError
from yolo.plan.cuda import CudaPlan

HEAD = """
[net]
width=32
height=24
channels=3
"""


def conv(filters, size=3, stride=1, activation="leaky", norm=1, more=""):
    return (
        f"[convolutional]\nbatch_normalize={norm}\nfilters={filters}\nsize={size}\nstride={stride}\n"
        f"pad=1\nactivation={activation}\n{more}\n"
    )


def route(*layers, more=""):
    return f"[route]\nlayers={','.join(map(str, layers))}\n{more}\n"


def pool(size, stride=1):
    return f"[maxpool]\nsize={size}\nstride={stride}\n"


HEADS = "[yolo]\nmask=0,1\nanchors=2,3, 7,6\nclasses=2\nnum=2\n"
NETS = {
    "residual": conv(16) + conv(24, stride=2) + conv(24, 1, activation="mish")
    + "[shortcut]\nfrom=-2\nactivation=linear\n" + conv(24)
    + "[shortcut]\nfrom=-2\nactivation=linear\n" + route(-2) + conv(14, 1, 1, "linear", 0) + HEADS,
    "spp": conv(8, stride=2) + conv(12, 1) + pool(5) + route(-2) + pool(9) + route(-4) + pool(13)
    + route(-1, -3, -5, -6) + conv(14, 1, 1, "linear", 0) + HEADS,
    "csp": conv(16, stride=2) + route(-1, more="groups=2\ngroup_id=1") + conv(8) + conv(8)
    + route(-1, -2) + conv(16, 1) + route(-6, -1) + pool(2, 2) + conv(20, more="groups=2")
    + "[dropout]\n" + "[upsample]\nstride=2\n" + route(-1, 0, -1)
    + conv(14, 1, 1, "linear", 0) + HEADS,
    "mobile": conv(8, stride=2, activation="relu6") + conv(8, more="groups=8") + conv(30, 1)
    + conv(30, stride=2, more="groups=30") + "[prelu]\n[avgpool]\n" + conv(10, 1, 1, "linear", 0)
    + "[softmax]\n",
}  # fmt: skip


@pytest.fixture
def build(tmp_path):
    """build(name): the network in evaluation, statistics and weights as after some training."""

    def make(name):
        path = tmp_path / f"{name}.cfg"
        path.write_text(HEAD + NETS[name])
        net = Network(cfg.read(str(path))).eval()
        for key, buffer in net.named_buffers():
            buffer.uniform_(0.5, 1.5) if key.endswith("var") else buffer.normal_(0, 0.1)
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
        return net

    return make


LIMITS = {"fp32": 1e-5, "tf32": 3e-3, "bf16": 3e-2, "fp16": 4e-3}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("precision", LIMITS)
def test_outputs_are_the_networks(machine, kernels, build, name, precision, batch):
    net = build(name)
    x = torch.rand(batch, *net.input_shape)
    with ops.backend("torch"), torch.no_grad():
        wanted = net.double()(x.double())
    plan = CudaPlan(net.float().fused().to(machine.device), batch, precision, kernels)
    assert plan.fallback is None
    for _ in range(2):  # nothing of the first call is left in the arena
        for got, want in zip(plan(x.to(machine.device)), wanted, strict=True):
            error = (got.double().cpu() - want).norm() / want.norm()
            assert error <= LIMITS[precision]
        plan._arena.fill_(torch.nan)


def test_what_the_plan_saves(kernels, machine, build):
    """Concatenations in place, shortcuts inside convolutions, pools of pools, memory used again."""
    made = {name: CudaPlan(build(name).fused().to(machine.device), 1, "bf16", kernels)
            for name in NETS}  # fmt: skip
    kernels_of = {name: [kernel for _, kernel in plan.rows] for name, plan in made.items()}
    assert kernels_of["spp"][2:5] == ["maxpool", "maxpool 5 of 5", "maxpool 5 of 9"]
    assert kernels_of["residual"].count("add") == 1  # the convolution that a route reads as well
    assert not {"add", "copy"} & {*kernels_of["spp"]}
    assert kernels_of["csp"].count("copy") == 2  # a slice already taken, a map read twice
    assert made["csp"].memory["arena"] < 0.7 * sum(
        2 * c * h * w for c, h, w in (layer.out_shape for layer in made["csp"].net.layers)
    )
    assert "stem" in made["mobile"].describe() and "MiB arena" in made["mobile"].describe()


def test_a_layer_without_a_step_runs_the_network(machine, kernels, tmp_path):
    path = tmp_path / "sam.cfg"
    path.write_text(HEAD + conv(8) + conv(8) + "[sam]\nfrom=-2\n")
    net = Network(cfg.read(str(path))).eval()
    plan = CudaPlan(net.fused(), 1, "fp32", kernels)
    assert "layer 2 [sam] has no CUDA step" in plan.describe()
    x = torch.rand(1, *net.input_shape)
    torch.testing.assert_close(plan(x), net.fused()(x))


def test_wrong_sizes_and_failing_steps_are_said(machine, kernels, build):
    plan = CudaPlan(build("residual").fused().to(machine.device), 1, "bf16", kernels)
    with pytest.raises(ValueError, match=r"takes \(1, 3, 24, 32\), got"):
        plan(torch.rand(2, 3, 24, 32))
    plan._run.recorded[1][2].shape.groups = 0
    with pytest.raises(CudaError, match=r"step 1 of 6: .*sizes or strides"):
        plan(torch.rand(1, 3, 24, 32, device=machine.device))


@pytest.mark.long
@pytest.mark.parametrize("name", ["yolov3-spp", "yolov4", "yolov4-tiny", "yolov4-csp"])
def test_the_networks_of_the_package(machine, kernels, cfg_folder, name):
    net = Network(cfg.read(str(cfg_folder / f"{name}.cfg"))).eval()
    net.resize(64, 64)
    for key, buffer in net.named_buffers():
        if key.endswith("var"):
            buffer.fill_(1 / 3)  # keeps the size of values from layer to layer
    x = torch.rand(1, *net.input_shape)
    with ops.backend("torch"), torch.no_grad():
        wanted = net(x)
    plan = CudaPlan(net.fused().to(machine.device), 1, "tf32", kernels)
    assert plan.fallback is None
    for got, want in zip(plan(x.to(machine.device)), wanted, strict=True):
        assert (got.cpu() - want).norm() <= 2e-2 * want.norm()
