"""Which kernel a convolution gets: a rough clock, and a limit on the memory of weights."""

from dataclasses import dataclass, field

MIN_WINOGRAD_CHANNELS = 32  # below, the transforms cost more than they save


@dataclass(frozen=True)
class Precision:
    """How a plan computes. Rates are rough ones of one core: they decide between algorithms and
    nothing else."""

    number: str  # what activations and weights are kept in
    algorithms: tuple  # of a convolution; all sums are in fp32
    multiplies: float  # a second
    why: str = ""  # the reason for a single algorithm
    transforms: float = 4e9  # values through an input or output transform, a second
    bandwidth: float = 25e9  # bytes of weights from memory, a second

    @property
    def element(self):
        """Bytes of a weight."""
        return 4 if self.number == "fp32" else 2


# In bf16 the inputs of F(4x4) lose too much when they are rounded: its error is 2e-2 a layer.
PRECISIONS = {
    "fast": Precision("fp32", ("direct", "winograd2", "winograd4", "phases"), 50e9),
    "exact": Precision("fp32", ("direct",), 50e9, "precision is exact"),
    "bf16": Precision("bf16", ("direct", "winograd2"), 100e9),
}
MATRIX = Precision("bf16", ("direct",), 600e9, "the matrix registers compute it faster")


def precision_of(word, level):
    """How a plan of the precision `word` computes with the kernels of `level`."""
    return MATRIX if level.startswith("amx") else PRECISIONS[word]


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


# Minimal filtering of 3x3 kernels: stride, edge of an output tile, products of a tile, weights.
TILES = {"winograd2": (1, 2, 16, 16), "winograd4": (1, 4, 36, 36), "phases": (2, 4, 81, 36)}


def _seconds(precision, algorithm, n, c, k, taps, p, q):
    if algorithm == "direct":
        multiplies, moved, weights = n * c * k * taps * p * q, 0, c * k * taps
    else:
        _, m, products, cells = TILES[algorithm]
        tiles, weights = n * -(-p // m) * -(-q // m), cells * c * k
        multiplies, moved = products * c * k * tiles, products * tiles * (c + k)
    size = precision.element * weights
    seconds = multiplies / precision.multiplies + moved / precision.transforms
    return seconds + size / precision.bandwidth, size


def candidates(n, c, k, kernel, stride, dilation, padding, p, q, precision, parts=1):
    """Choice for a dense convolution, or `parts` equal ones; c and k are physical channels, p x q
    its output."""
    taps = kernel[0] * kernel[1]
    names = ("direct",)
    stepping = [name for name, (step, *_) in TILES.items() if stride == (step, step)]
    fits = kernel == (3, 3) and dilation == (1, 1) and padding == (1, 1)
    if not (stepping and fits):
        why = "only direct fits this kernel"
    elif precision.algorithms == names:
        why = precision.why
    elif min(c, k) < MIN_WINOGRAD_CHANNELS:
        why = f"fewer than {MIN_WINOGRAD_CHANNELS} channels"
    else:
        filtering = [name for name in precision.algorithms if name in stepping]
        names = [name for name in precision.algorithms if name in ("direct", *filtering)] or names
        why = "least time by the cost model" if filtering else "only direct fits this kernel"
    timed = []
    for name in names:
        seconds, size = _seconds(precision, name, n, c, k, taps, p, q)
        timed.append((parts * seconds, parts * size, name))
    return Choice(sorted(timed), 0, why)


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
