"""Which kernel a convolution gets: a rough clock, and a limit on the memory of weights."""

from dataclasses import dataclass, field

# Rough rates of one core, which decide between algorithms and nothing else.
MULTIPLIES_PER_SECOND = 50e9
TRANSFORMS_PER_SECOND = 4e9  # floats through an input or output transform
BYTES_PER_SECOND = 25e9  # weights from memory
MIN_WINOGRAD_CHANNELS = 32  # below, the transforms cost more than they save


@dataclass
class Choice:
    """A convolution's candidates, fastest first, and the one taken."""

    candidates: list = field(default_factory=list)  # (seconds, bytes of weights, algorithm)
    taken: int = 0
    why: str = ""

    @property
    def algorithm(self):
        return self.candidates[self.taken][2]

    @property
    def weight_bytes(self):
        return self.candidates[self.taken][1]


def _seconds(algorithm, n, c, k, taps, p, q):
    if algorithm == "direct":
        multiplies, moved, weights = n * c * k * taps * p * q, 0, c * k * taps
    else:
        m = int(algorithm[-1])
        tiles, cells = n * -(-p // m) * -(-q // m), (m + 2) ** 2
        multiplies, moved, weights = cells * c * k * tiles, cells * tiles * (c + k), cells * c * k
    seconds = multiplies / MULTIPLIES_PER_SECOND + moved / TRANSFORMS_PER_SECOND
    return seconds + 4 * weights / BYTES_PER_SECOND, 4 * weights


def candidates(n, c, k, kernel, stride, dilation, padding, p, q, winograd):
    """Choice for a dense convolution; c and k are physical channels, p x q its output."""
    taps = kernel[0] * kernel[1]
    names = ["direct"]
    fits = kernel == (3, 3) and stride == (1, 1) and dilation == (1, 1) and padding == (1, 1)
    if not fits:
        why = "only direct fits this kernel"
    elif not winograd:
        why = "precision is exact"
    elif min(c, k) < MIN_WINOGRAD_CHANNELS:
        why = f"fewer than {MIN_WINOGRAD_CHANNELS} channels"
    else:
        names += ["winograd2", "winograd4"]
        why = "least time by the cost model"
    timed = sorted((*_seconds(name, n, c, k, taps, p, q), name) for name in names)
    return Choice(timed, 0, why)


def limit_weights(choices, limit):
    """Takes slower, smaller candidates until all weights fit: least time lost per byte first."""
    while sum(choice.weight_bytes for choice in choices) > limit:
        best = None
        for choice in choices:
            for i, (seconds, size, _) in enumerate(choice.candidates):
                saved = choice.weight_bytes - size
                lost = seconds - choice.candidates[choice.taken][0]
                if saved > 0 and (best is None or lost / saved < best[0]):
                    best = lost / saved, choice, i
        if best is None:
            return
        _, choice, choice.taken = best
        choice.why = "the limit on weight memory"
