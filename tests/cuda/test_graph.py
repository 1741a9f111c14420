"""--graph on the stand-in for a GPU, whose graphs repeat what they recorded with its numbers."""

from pathlib import Path

import pytest
import torch

from tests.cuda.test_joined import CHAIN
from tests.cuda.test_places import PLACES
from tests.micro_net import HEAD
from yolo import ops
from yolo.__main__ import main
from yolo.cfg import CfgError, parse, read
from yolo.network import Network
from yolo.ops.cuda import Kernels
from yolo.optimizer import DarknetSGD
from yolo.plan.cuda import CudaPlan
from yolo.train.graph import WARM, GraphError, Graphs

CFG = Path(__file__).resolve().parents[2] / "cfg"
BOXES = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.3], [1, 0, 0.2, 0.7, 0.4, 0.2]])


def conv(filters, size=3, more=""):
    return (
        f"[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize={size}\npad=1\n"
        f"activation=leaky\n{more}\n"
    )


NET = "[net]\nwidth=8\nheight=8\nchannels=3\nmax_batches=100\n"
SMALL = NET + conv(4) + conv(4, 1) + HEAD


def build(text=SMALL, seed=2):
    return Network(parse(text), seed=seed).to("cuda").train()


def images(seed, size=8):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, size, size, generator=generator).to("cuda")


def gradients(net):
    return [None if p.grad is None else p.grad.clone() for p in net.parameters()]


def assert_same(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert torch.equal(a.cpu(), b.cpu())


def train(net, loss, steps, precision="fp32", rate=1e-3):
    """[cost of each mini-batch] of iterations of two mini-batches each."""
    optimizer, costs = DarknetSGD(net), []
    boxes = BOXES.to("cuda")
    for number in range(steps):
        for half in range(2):
            with ops.precision(precision):
                report = loss(images(2 * number + half, net.input_shape[1]), boxes)
            report.total.backward()
            costs.append(report.cost)
        optimizer.step(rate, 4, net.iteration + 1)
        net.iteration += 1
    return costs


@pytest.mark.parametrize("text", [CHAIN, PLACES], ids=["chain", "places"])
def test_training_is_that_without_graphs(gpu, text):
    """Bit for bit, with every kind of joined layers: losses, weights, rolling statistics; gradients
    add up over mini-batches."""
    plain, net = build(text), build(text)
    wanted = train(plain, plain.loss, 2, "bf16")
    assert train(net, Graphs(net), 2, "bf16") == wanted
    assert_same(net.state_dict().values(), plain.state_dict().values())


TWO_HEADS = NET + conv(8) + HEAD + "[route]\nlayers=0\n" + conv(8, 1) + HEAD
CLASSES = NET + conv(4) + "[avgpool]\n[softmax]\n[cost]\ntype=sse\n"


def test_several_heads_and_layers_behind_them(gpu):
    plain, net = build(TWO_HEADS), build(TWO_HEADS)
    assert train(net, Graphs(net), 2) == train(plain, plain.loss, 2)
    assert_same(net.parameters(), plain.parameters())
    plain, net, labels = build(CLASSES), build(CLASSES), torch.tensor([1, 3]).to("cuda")
    graphs = Graphs(net)
    assert graphs.body.read == [1] and [layer.index for layer in graphs.body.behind] == [2, 3]
    wanted, got = plain.loss(images(1), labels), graphs(images(1), labels)
    assert got.cost == wanted.cost and got.indices == wanted.indices
    wanted.total.backward(), got.total.backward()
    assert_same(gradients(net), gradients(plain))


def test_one_pair_for_each_size(gpu, monkeypatch):
    plain, net = build(), build()
    graphs, calls = Graphs(net), []
    forward = net.layers[0].forward
    monkeypatch.setattr(net.layers[0], "forward", lambda x: calls.append(x.shape) or forward(x))
    for size in (8, 12, 8, 12):
        for each in (plain, net):
            each.resize(size, size)
        assert train(net, graphs, 1) == train(plain, plain.loss, 1)
    assert_same(net.state_dict().values(), plain.state_dict().values())
    assert len(calls) == 2 * (WARM + 1) == 4 * len(set(calls))
    graphs.clear()
    train(net, graphs, 1)
    assert len(calls) == 3 * (WARM + 1)


def test_random_numbers_are_new_in_each_pass(gpu):
    """And those that an iteration would draw without a recording."""
    text = NET + conv(8) + "[dropout]\nprobability=0.5\n" + HEAD
    plain, net = build(text), build(text)
    graphs, drawn = Graphs(net), []
    for seed in (3, 4, 3):
        for loss in (plain.loss, graphs):
            torch.default_generator.manual_seed(seed)
            drawn.append(loss(images(0), BOXES.to("cuda")).cost)
    assert drawn[::2] == drawn[1::2] and drawn[0] != drawn[2]


def test_layers_that_begin_to_train_are_recorded_anew(gpu):
    text = NET + conv(8) + conv(8, more="stopbackward=2") + conv(8) + HEAD
    plain, net = build(text), build(text)
    assert train(net, Graphs(net), 4) == train(plain, plain.loss, 4)
    assert_same(net.state_dict().values(), plain.state_dict().values())


def test_gradients_that_are_there_stay(gpu):
    net, boxes = build(), BOXES.to("cuda")
    graphs = Graphs(net)
    graphs(images(0), boxes).total.backward()
    once = gradients(net)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    graphs(images(0), boxes).total.backward()
    assert_same([p.grad - 1 for p in net.parameters()], [1 + g - 1 for g in once])


def test_maps_do_not_outlive_the_next_pass(gpu):
    graphs, boxes = Graphs(build()), BOXES.to("cuda")
    first = graphs(images(0), boxes)
    graphs(images(1), boxes)
    with pytest.raises(GraphError, match="overwritten by a later forward pass"):
        first.total.backward()


REFUSED = {
    "[crop]\ncrop_height=8\ncrop_width=8\n": r":6: \[crop\] .* drawn on the CPU",
    "[history]\nhistory_size=2\n": r"\[history\] .* its state goes on",
    conv(4) + "[dropout]\ndropblock=1\n": r"\[dropout\] .* grow with the iterations",
}


@pytest.mark.parametrize("layers", REFUSED)
def test_what_changes_from_call_to_call_is_refused_by_name(gpu, layers):
    with pytest.raises(CfgError, match=REFUSED[layers]):
        Graphs(build(NET + layers + HEAD))


def test_a_layer_that_waits_for_the_device_is_named(gpu, monkeypatch):
    net = build()
    forward, before = net.layers[1].forward, [b.clone() for b in net.buffers()]

    def waits(x):
        assert x.planar().sum().item() == pytest.approx(x.planar().sum().item())
        return forward(x)

    monkeypatch.setattr(net.layers[1], "forward", waits)
    with pytest.raises(GraphError, match=r"layer 1 \[convolutional\] cannot be part .* capturing"):
        Graphs(net)(images(0), BOXES.to("cuda"))
    assert_same(net.buffers(), before)


def test_the_command(gpu, tmp_path, capsys, no_chart, few_drawn):
    """The same weights as without --graph, though the run goes on without; without a GPU wrong
    usage."""
    path, files = tmp_path / "chain.cfg", []
    path.write_text(CHAIN.replace("[net]", "[net]\nbatch=4\nsubdivisions=2\nmax_batches=2"))
    command = ["train", str(path), "--device", "cuda", "--workers", "0", "--precision", "bf16"]
    stopped = [["--graph", "--iterations", "1"], ["--resume", "--iterations", "2"]]
    for calls in ([[]], stopped):
        out = tmp_path / str(len(calls))
        for more in calls:
            assert main([*command, "--out", str(out), *more]) == 0
        files.append((out / "chain_final.weights").read_bytes())
    assert files[0] == files[1]
    for wrong in (["--device", "cpu"], ["--checkpoint-activations"], ["--sync-bn"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--graph", *wrong])
        assert ended.value.code == 2 and "--graph" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("path", sorted(CFG.glob("*.cfg")), ids=lambda path: path.stem)
def test_nothing_in_a_shipped_network_waits_for_the_device(gpu, monkeypatch, path):
    """Plans and training are recorded; kernels are left out, for it is not asked what they give."""
    monkeypatch.setattr(Kernels, "call", lambda *_: None)
    sections = read(path)
    cropped = any(section.name == "crop" for section in sections)
    for key in () if cropped else ("width", "height"):
        sections[0].set(key, 96)
    net = Network(sections).to("cuda")
    x = torch.rand(2, *net.input_shape).to("cuda")
    CudaPlan(net.eval().fused(), 2, "bf16")(x)
    net.train()
    net.iteration = 10**6  # all layers train
    if cropped:
        with pytest.raises(CfgError, match="drawn on the CPU"):
            Graphs(net)
        return
    with ops.precision("bf16"):
        assert Graphs(net).maps(x)


def test_a_network_on_the_cpu_is_refused():
    with pytest.raises(GraphError, match="on cpu"):
        Graphs(Network(parse(CHAIN)))
