"""What the ranks of the tests do, each in a process of its own (server.py)."""

import json
import logging
import os
import signal

import torch
from safetensors.torch import save_file

from tests.train.small_run import network, tensors, trainer
from yolo import ops, ranks
from yolo.checkpoint import read


def keep(folder, found, **facts):
    """Leaves tensors and facts of this rank in the folder."""
    found = {name: tensor.detach().clone().contiguous() for name, tensor in found.items()}
    save_file(found, folder / f"{ranks.number()}.safetensors")
    (folder / f"{ranks.number()}.json").write_text(json.dumps(facts))


def train(folder, changes=(), iterations=4, checkpoint=None, spoil=(), **settings):
    """A small training; `checkpoint` is the path of one to go on from."""
    said = []
    found = read(checkpoint) if checkpoint else None
    run = trainer(folder, iterations, network(changes), spoil, found, say=said.append, **settings)
    run.run()
    heads = {layer: vars(averages) for layer, averages in run.progress.heads.items()}
    facts = dict(loss=run.progress.loss, given=run.given, said=said, position=run.position)
    keep(folder, tensors(run), heads=heads, **facts)


def say(folder):
    """What ranks have to say while they train: the same, and something of their own."""
    said, log = [], logging.getLogger("yolo.data")
    with ranks.collect():
        run = trainer(folder, 2, network([("batch=4", "batch=8")]), say=said.append)
        ranks.notes.add("all say this")
        log.warning("all log this")
        if not ranks.first():
            ranks.notes.add(f"only {ranks.number()} says this")
            log.warning("only %d logs this", ranks.number())
        run.run()
    keep(folder, {}, said=said)


def exchange(folder):
    """Every way that something is said between ranks."""
    own = ranks.number()
    found = {
        "everyone": ranks.everyone({"rank": own, "text": "x" * own}),
        "bytes": [len(part) for part in ranks.everyone(b"y" * own)],
        "largest": ranks.largest(own, -own, 0.5 * own),
        "any": [ranks.any_rank(own == 1), ranks.any_rank(False)],
        "gathered": ranks.gathered(torch.tensor([own, 2 * own])).tolist(),
        "summed": ranks.summed(torch.tensor([own])).item(),
        "mine": ranks.mine(7),
        "turns": list(ranks.in_turns(ranks.round_robin(range(7)), pack, json.loads)),
        "first": ranks.from_first(lambda: b"of the first").decode(),
    }
    path = folder / "of the first"
    found["order"] = ranks.one_then_all(lambda: path.read_text() if own else path.write_text("12"))
    keep(folder, {}, **found)


def interrupt(folder):
    """The last rank alone gets SIGTERM while all measure for the first time."""

    def measure(net, valid, precision):
        for turn in ranks.in_turns(ranks.round_robin(range(20)), pack, json.loads):
            if turn == 9 and ranks.number() == ranks.count() - 1:
                os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not broken off")

    run = trainer(folder, 9, network([("batch=4", "batch=8")]), map_every=5, measure=measure)
    run.run()
    keep(folder, {}, ended=run.ended, iteration=run.net.iteration, code=run.stop.exit_code)


def refuse(folder):
    """A recurrent network is refused where there are several ranks."""
    from yolo import cfg
    from yolo.job.processes import refuse as check
    from yolo.network import Network

    text = "[net]\nwidth=8\nheight=8\nchannels=1\n[rnn]\noutput=2\n[softmax]\n"
    cbn = text.replace("[rnn]\noutput=2", "[convolutional]\ncbn=1\nbatch_normalize=1")
    said = []
    for given, sync in ((text, False), (cbn, True), (cbn, False)):
        try:
            check(Network(cfg.parse(given)), sync)
        except cfg.CfgError as error:
            said.append(str(error))
    keep(folder, {}, said=said)


def fail_first(folder):
    """The first rank fails at what the others wait for."""
    ranks.from_first(lambda: 1 / 0)


def pack(value):
    return json.dumps(value).encode()


def measure(folder, data, batch, protocol):
    """The numbers of `map` on a data set of pictures, one of which is broken."""
    from tests.micro_net import micro
    from yolo.data import Dataset
    from yolo.evaluate import Pass, Tally, coco

    net, valid = micro(), Dataset.from_data(data, "valid", 3)
    difficult = Dataset.difficult(data, 3)
    paths = [entry.text for entry in valid.entries]
    judge = Tally(3, 0.5, 0.25) if protocol == "darknet" else coco.Referee(paths, 3, None)
    images = Pass(net, valid, judge.lowest, judge.suppression, batch, difficult=difficult)
    for seen in images:
        judge.see(seen)
    result = judge.result(*([0] if protocol == "darknet" else []))
    found = json.loads(json.dumps(result.to_dict()))
    keep(folder, {}, result=found, skipped=[str(error) for error in images.skipped])


def classify(folder, length):
    """Accuracy on drawn shapes."""
    from yolo import cfg
    from yolo.classify import measure as accuracy
    from yolo.data import ShapeClasses
    from yolo.network import Network

    text = "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=4\nsize=3\nstride=8\n"
    net = Network(cfg.parse(text + "[avgpool]\n[softmax]\n")).eval()
    data = ShapeClasses(4, length, (32, 32), split="valid")
    found = accuracy(net, data, top=2, batch=2)
    keep(folder, {}, result=found.to_dict())


def normalise(folder, block, images, activation):
    """Convolution and batch normalisation over this rank's share of the images, forward and
    backward, statistics shared."""
    torch.manual_seed(0)
    x, weight = torch.randn(images, 3, 8, 8), torch.randn(20, 3, 3, 3)
    grad_y, scale, bias = torch.randn(images, 20, 8, 8), torch.rand(20) + 0.5, torch.randn(20)
    share = slice(*ranks.mine(images))
    x, grad_y = x[share].clone(), grad_y[share]
    for tensor in (x, weight, scale, bias):
        tensor.requires_grad_()
    rolling = torch.zeros(20), torch.ones(20)
    with ops.statistics("shared"):
        y = BLOCKS[block](x, weight, scale, bias, rolling, activation)
        y.backward(grad_y)
    sums = {
        name: ranks.summed(tensor.grad)
        for name, tensor in (("weight", weight), ("scale", scale), ("bias", bias))
    }
    rolling = {"mean": rolling[0], "var": rolling[1]}
    keep(folder, {"y": y, "grad_x": x.grad} | sums | rolling)


def separate(x, weight, scale, bias, rolling, activation):
    y = ops.conv2d(x, weight, None, 1, 1)
    return ops.batch_norm_act(y, scale, bias, *rolling, True, activation)


def planar(x, weight, scale, bias, rolling, activation):
    how = rolling, True, activation, (1, 1, 1, 1)
    return ops.conv_batch_norm_act(x, weight, (scale, bias), *how)


def packed(x, weight, scale, bias, rolling, activation):
    with ops.layout("packed"):
        return ops.unpack(
            ops.conv_norm_act(x, weight, scale, bias, rolling, True, activation, 1, 1)
        )


BLOCKS = {"separate": separate, "planar": planar, "packed": packed}
