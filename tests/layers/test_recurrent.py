"""[rnn], [lstm], [gru], [crnn], [conv_lstm], [history]: sequences, states, gradients, files."""

import pytest
import torch
from torch import nn

from yolo import weights
from yolo.cfg import CfgError, parse
from yolo.network import Network

STEPS, STREAMS = 3, 2
VECTOR = "[net]\ninputs=5\ntime_steps=3\nbatch=6\n"
PLANE = "[net]\nchannels=2\nheight=4\nwidth=3\ntime_steps=3\nbatch=6\n"
TEXTS = {
    "rnn": VECTOR + "[rnn]\noutput=4\nhidden=3\nactivation=tanh",
    "rnn, normalised": VECTOR + "[rnn]\noutput=4\nhidden=3\nbatch_normalize=1\nshortcut=1",
    "lstm": VECTOR + "[lstm]\noutput=4",
    "gru": VECTOR + "[gru]\noutput=4\nbatch_normalize=1",
    "crnn": PLANE + "[crnn]\noutput=4\nhidden=3\npad=1\nactivation=tanh\nshortcut=1",
    "conv_lstm": PLANE + "[conv_lstm]\noutput=4\nsize=3\npad=1\nactivation=linear",
    "conv_lstm, peephole": PLANE + "[conv_lstm]\noutput=4\nsize=1\npeephole=1\nbatch_normalize=1",
    "history": PLANE + "[history]\nhistory_size=3",
}


def make(name, *changes):
    text = TEXTS[name]
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    net = Network(parse(text, "test.cfg")).double()
    generator = torch.Generator().manual_seed(3)
    for key, tensor in [*net.named_parameters(), *net.named_buffers()]:
        low, high = (0.5, 1.5) if key.endswith(("scale", "rolling_var")) else (-0.8, 0.8)
        tensor.data.uniform_(low, high, generator=generator)
    return net


def sequence(net, images=STEPS * STREAMS):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(images, *net.input_shape, dtype=torch.float64, generator=generator)


def frames(x):
    return x.view(STEPS, STREAMS, *x.shape[1:])


@pytest.mark.parametrize("name", TEXTS)
def test_gradients_through_time(name):
    net = make(name).train()
    layer = net.layers[0]
    x = sequence(net).requires_grad_()
    values = dict(layer.named_parameters())

    def run(x, *parameters):
        layer.reset()
        named = dict(zip(values, parameters, strict=True))
        return torch.func.functional_call(layer, named, x)

    assert torch.autograd.gradcheck(run, (x, *values.values()), fast_mode=True)


@pytest.mark.parametrize("name", TEXTS)
def test_frame_by_frame_is_the_sequence_without_batch_statistics(name):
    net = make(name).eval()
    layer, x = net.layers[0], sequence(net)
    one_by_one = torch.cat([layer(frame) for frame in frames(x)])
    layer.reset()
    layer.training = True  # the parts stay in evaluation
    torch.testing.assert_close(layer(x), one_by_one)


@pytest.mark.parametrize("name", TEXTS)
def test_streams_do_not_mix(name):
    net = make(name).eval()
    layer, x = net.layers[0], frames(sequence(net))
    both = torch.stack([layer(frame) for frame in x])
    net.reset_state()
    torch.testing.assert_close(torch.stack([layer(frame[1:]) for frame in x]), both[:, 1:])


@pytest.mark.parametrize("name", TEXTS)
def test_a_fused_copy_agrees_and_has_a_state_of_its_own(name):
    net = make(name).eval()
    fused, x = net.fused(), frames(sequence(net))
    expected = [net(frame)[0] for frame in x]
    torch.testing.assert_close([fused(frame)[0] for frame in x], expected)


@pytest.mark.parametrize("name", TEXTS)
def test_files_go_round(tmp_path, name):
    net = make(name).float()
    weights.save(net, tmp_path / "a.weights")
    other = Network(parse(TEXTS[name], "test.cfg"), seed=1)
    weights.load(other, tmp_path / "a.weights")
    torch.testing.assert_close(other.state_dict(), net.state_dict())


def reference_lstm(layer, inputs):
    """PyTorch's own, whose gates stand in the order i, f, g, o."""
    order = (1, 0, 2, 3)
    lstm = nn.LSTM(inputs, 4).double()
    for ours, kind in ((layer.of_input, "ih"), (layer.of_state, "hh")):
        rows = [ours[gate].weight.flatten(1) for gate in order]
        getattr(lstm, f"weight_{kind}_l0").data = torch.cat(rows)
        getattr(lstm, f"bias_{kind}_l0").data = torch.cat([ours[gate].bias for gate in order])
    return lstm


def test_lstm_is_that_of_pytorch():
    net = make("lstm").train()
    x = sequence(net)
    y, (h, c) = reference_lstm(net.layers[0], 5)(frames(x).flatten(2))
    torch.testing.assert_close(net.layers[0](x).flatten(1), y.flatten(0, 1))
    torch.testing.assert_close(net.layers[0].state[0].flatten(1), h[0])
    torch.testing.assert_close(net.layers[0].state[1].flatten(1), c[0])


def test_conv_lstm_of_size_1_is_that_of_pytorch_at_every_pixel():
    net = make("conv_lstm", ("size=3\npad=1", "size=1")).train()
    x = sequence(net)
    pixels = frames(x).permute(0, 1, 3, 4, 2).reshape(STEPS, -1, 2)
    y, _ = reference_lstm(net.layers[0], 2)(pixels)
    y = y.reshape(STEPS, STREAMS, 4, 3, 4).permute(0, 1, 4, 2, 3).flatten(0, 1)
    torch.testing.assert_close(net.layers[0](x), y)


def affine(part, x):
    return x.flatten(1) @ part.weight.T + part.bias


def test_rnn_step_by_step():
    net = make("rnn", ("activation=tanh", "activation=tanh\nlogistic=1\nshortcut=1")).train()
    layer, x = net.layers[0], sequence(net)
    h = torch.zeros(STREAMS, 3, dtype=torch.float64)
    for frame, y in zip(frames(x), frames(layer(x)), strict=True):
        h = h + affine(layer.of_input, frame).tanh() + affine(layer.of_state, h).sigmoid()
        torch.testing.assert_close(y.flatten(1), affine(layer.to_output, h).tanh())


def test_gru_step_by_step():
    net = make("gru", ("batch_normalize=1", "batch_normalize=0")).train()
    layer, x = net.layers[0], sequence(net)
    h = torch.zeros(STREAMS, 4, dtype=torch.float64)
    for frame, y in zip(frames(x), frames(layer(x)), strict=True):
        u, w = layer.of_input, layer.of_state
        z = (affine(u[0], frame) + affine(w[0], h)).sigmoid()
        r = (affine(u[1], frame) + affine(w[1], h)).sigmoid()
        h = z * h + (1 - z) * (affine(u[2], frame) + affine(w[2], r * h)).sigmoid()
        torch.testing.assert_close(y.flatten(1), h)


def test_crnn_step_by_step():
    net = make("crnn").train()
    layer, x = net.layers[0], sequence(net)
    h = torch.zeros(STREAMS, 3, 4, 3, dtype=torch.float64)

    def convolved(part, x):
        return nn.functional.conv2d(x, part.weight, part.bias, padding=1).tanh()

    for frame, y in zip(frames(x), frames(layer(x)), strict=True):
        h = h + convolved(layer.of_input, frame) + convolved(layer.of_state, h)
        torch.testing.assert_close(y, convolved(layer.to_output, h))


def test_peephole_sees_the_old_cell_and_the_output_gate_the_new_one():
    net = make("conv_lstm, peephole", ("batch_normalize=1", "batch_normalize=0")).train()
    layer, x = net.layers[0], sequence(net)
    c = h = torch.zeros(STREAMS, 4, 4, 3, dtype=torch.float64)
    for frame, y in zip(frames(x), frames(layer(x)), strict=True):
        f, i, g, o = (layer.of_state[n](h) + layer.of_input[n](frame) for n in range(4))
        f, i = f + layer.of_cell[0](c), i + layer.of_cell[1](c)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = (o + layer.of_cell[2](c)).sigmoid() * c.tanh()
        torch.testing.assert_close(y, h)


def test_history_puts_the_last_images_side_by_side():
    net = make("history").eval()
    x = frames(sequence(net))
    zero = torch.zeros_like(x[0])
    outputs = [net(frame)[0] for frame in x]
    torch.testing.assert_close(outputs[0], torch.cat([x[0], zero, zero], 1))
    torch.testing.assert_close(outputs[2], torch.cat([x[2], x[1], x[0]], 1))


@pytest.mark.parametrize(("name", "carries"), [("crnn", False), ("lstm", True), ("gru", True)])
def test_which_states_go_on_from_mini_batch_to_mini_batch(name, carries):
    net = make(name, *[("batch_normalize=1", "")] if name == "gru" else []).train()
    layer, x = net.layers[0], sequence(net)
    first, second = layer(x), layer(x)
    assert torch.equal(first, second) != carries
    net.reset_state()
    assert torch.equal(layer(x), first)


def test_a_long_state_is_held_within_its_limits():
    net = make("conv_lstm", ("output=4", "output=4\nstate_constrain=1")).eval()
    layer = net.layers[0]
    for part in (*layer.of_state, *layer.of_input):
        part.bias.data.fill_(9.0)
    for _ in range(5):
        layer(sequence(net))
    assert layer.state[1].abs().max() <= 1


def test_order_in_the_file():
    lstm, gru = make("lstm").layers[0], make("gru").layers[0]
    assert [t.shape[-1] for t in lstm.stored() if t.dim() == 2] == [4] * 4 + [5] * 4
    assert [t.shape[-1] for t in gru.stored() if t.dim() == 2] == [5] * 3 + [4] * 3
    peephole = make("conv_lstm, peephole").layers[0]
    assert [t.shape[1] for t in peephole.stored() if t.dim() == 4] == [4] * 7 + [2] * 4


def test_time_steps_multiply_the_mini_batch():
    net = make("crnn")
    assert net.options.mini_batch == 18 and net.options.effective_batch == 18


def test_refusals():
    net = make("crnn").train()
    with pytest.raises(ValueError, match=r"test.cfg:7: \[crnn\] takes sequences of time_steps=3"):
        net.layers[0](sequence(net, 4))
    for text, words in {
        "[crnn]\noutput=2": "must keep height and width",
        "[conv_lstm]\npad=1\nbottleneck=1": "bottleneck is not available",
        "[conv_lstm]\npad=1\nlstm_activation=relu": "lstm_activation='relu' is not known",
    }.items():
        with pytest.raises(CfgError, match=words):
            Network(parse(PLANE + text))
