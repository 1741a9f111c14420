"""Darknet's activations as PyTorch expressions: value y = f(x) and gradient factor g.

Most factors are evaluated from y, as Darknet does, even where (gelu) that is not the derivative.
"""

import torch

SELU_SCALE, SELU_ALPHA = 1.0507, 1.6732


def _either(where, yes, no, like):
    """Two numbers by a condition, in the type of `like` (torch.where would make them float32)."""
    return torch.full_like(like, no).masked_fill(where, yes)


def _slope(at, low, high=1.0):
    """`high` where `at` is positive, else `low`."""
    return _either(at > 0, high, low, at)


def _sigmoid_gradient(y):
    return y * (1 - y)


def _elu(x):
    return torch.where(x >= 0, x, torch.expm1(x.clamp(max=0)))


def _selu_gradient(x, y):
    return torch.where(y >= 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)


def _gelu(x):
    return 0.5 * x * (1 + torch.tanh(0.797885 * x + 0.035677 * x**3))


def _gelu_gradient(x, y):
    inner = 0.0356774 * y**3 + 0.797885 * y
    sech = 1 / torch.cosh(inner)
    return 0.5 * torch.tanh(inner) + (0.0535161 * y**3 + 0.398942 * y) * sech * sech + 0.5


def _plse(x):
    middle = x / 8 + 0.5
    return torch.where(x < -4, 0.01 * (x + 4), torch.where(x > 4, 0.01 * (x - 4) + 1, middle))


def _lhtan(x):
    return torch.where(x < 0, 0.001 * x, torch.where(x > 1, 0.001 * (x - 1) + 1, x))


def _stair(x):
    n = torch.floor(x)
    half = torch.floor(x / 2)
    return torch.where(torch.remainder(n, 2) == 0, half, (x - n) + half)


def _softplus(x):
    """Darknet's: x above 20, e^x below -20."""
    middle = torch.log1p(torch.exp(x.clamp(-20, 20)))
    return torch.where(x > 20, x, torch.where(x < -20, torch.exp(x.clamp(max=0)), middle))


def _mish(x):
    return x * torch.tanh(_softplus(x))


def _mish_gradient(x, y):
    softplus = _softplus(x)
    t = torch.tanh(softplus)
    return x * (1 - t * t) * -torch.expm1(-softplus) + t


def _swish_gradient(x, y):
    return y + torch.sigmoid(x) * (1 - y)


def _hard_mish(x):
    return torch.where(x > 0, x, torch.where(x > -2, x * x / 2 + x, 0.0)).to(x.dtype)


def _hard_mish_gradient(x, y):
    return torch.where(x > 0, 1.0, torch.where(x > -2, x + 1, 0.0)).to(x.dtype)


def _share(positive):
    """Each channel's share of its pixel's sum over the channels (dimension 1)."""
    return positive / (positive.sum(1, keepdim=True) + 1e-4)


def _finite(x):
    return torch.where(torch.isfinite(x), x, 0.0).to(x.dtype)


def _softmax(x):
    return _finite(_share(torch.exp(x)))


def _softmax_maxval(x):
    return _finite(_share(torch.exp(x - x.amax(1, keepdim=True)))) if x.numel() else x.clone()


def _softmax_gradient(x, y):
    return _finite(_sigmoid_gradient(y))


def _inside(y, low, high, outside=0.0):
    return _either((y > low) & (y < high), 1.0, outside, y)


# Those that kernels compute themselves, csrc/activation.h having the same list.
NATIVE_ACTIVATIONS = (
    "linear", "logistic", "leaky", "relu", "relu6", "ramp", "tanh", "swish", "mish"
)  # fmt: skip

# name: (y from x, gradient factor from x and y)
FORMULAS = {
    "logistic": (torch.sigmoid, lambda x, y: _sigmoid_gradient(y)),
    "loggy": (lambda x: 2 * torch.sigmoid(x) - 1, lambda x, y: 2 * _sigmoid_gradient((y + 1) / 2)),
    "relu": (lambda x: x.clamp(min=0), lambda x, y: _slope(y, 0.0)),
    "relu6": (lambda x: x.clamp(0, 6), lambda x, y: _inside(y, 0, 6)),
    "relie": (lambda x: torch.where(x > 0, x, 0.01 * x), lambda x, y: _slope(y, 0.01)),
    "leaky": (lambda x: torch.where(x > 0, x, 0.1 * x), lambda x, y: _slope(y, 0.1)),
    # Darknet on a GPU divides by the slope here, on a CPU it multiplies, as is right
    "revleaky": (lambda x: torch.where(x > 0, x, 0.1 * x), lambda x, y: _slope(y, 0.1)),
    "ramp": (lambda x: torch.where(x > 0, 1.1 * x, 0.1 * x), lambda x, y: _slope(y, 0.1, 1.1)),
    "linear": (lambda x: x.clone(), lambda x, y: torch.ones_like(y)),
    "tanh": (torch.tanh, lambda x, y: 1 - y * y),
    "elu": (_elu, lambda x, y: torch.where(y >= 0, 1.0, y + 1).to(y.dtype)),
    "selu": (
        lambda x: torch.where(x >= 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * _elu(x)),
        _selu_gradient,
    ),
    "gelu": (_gelu, _gelu_gradient),
    "plse": (_plse, lambda x, y: _either((y < 0) | (y > 1), 0.01, 0.125, y)),
    "hardtan": (lambda x: x.clamp(-1, 1), lambda x, y: _inside(y, -1, 1)),
    "lhtan": (_lhtan, lambda x, y: _inside(y, 0, 1, 0.001)),
    "stair": (_stair, lambda x, y: _either(y == torch.floor(y), 0.0, 1.0, y)),
    "swish": (lambda x: x * torch.sigmoid(x), _swish_gradient),
    "mish": (_mish, _mish_gradient),
    "hard_mish": (_hard_mish, _hard_mish_gradient),
    "normalize_channels": (
        lambda x: _share(x.clamp(min=0)),
        lambda x, y: torch.where(y > 0, y, 0.0).to(y.dtype),
    ),
    "normalize_channels_softmax": (_softmax, _softmax_gradient),
    "normalize_channels_softmax_maxval": (_softmax_maxval, _softmax_gradient),
}
