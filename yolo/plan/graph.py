"""What a plan consists of before it has addresses: values, and the steps that make them."""

from dataclasses import dataclass, field


class Unsupported(Exception):
    """No packed kernel can run a layer; the text says why."""


def ceil_div(n, d):
    return -(-n // d)


@dataclass(eq=False)
class Value:
    """A packed tensor. Logical channel i lies at physical channel channels[i] of its blocks.

    A value may live inside another one, `home`, from channel block `first` on: a part of a
    concatenation, or a group of channels.
    """

    channels: list
    blocks: int
    height: int
    width: int
    home: "Value | None" = None
    first: int = 0
    border: int = 0  # zero pixels that readers want around it; kept at the root
    buffer: int = -1  # number in the C++ plan, at the root

    def root(self):
        """The value that owns the memory, and the block in it where this one begins."""
        value, first = self, 0
        while value.home is not None:
            value, first = value.home, first + value.first
        return value, first

    def want_border(self, border):
        root = self.root()[0]
        root.border = max(root.border, border)

    def slice(self, first=0, blocks=None):
        """(buffer, first block, blocks) for the C++ plan: of this value, or of a part of it."""
        root, begin = self.root()
        return root.buffer, begin + first, self.blocks if blocks is None else blocks


def new_value(lanes, channels, height, width):
    """A value whose channels are dense, padded at the end."""
    return Value(list(range(channels)), ceil_div(channels, lanes), height, width)


@dataclass
class Step:
    """One call of the C++ plan, made by emit(plan), or a layer that runs by itself, `host`."""

    layer: int  # number of the layer that it computes
    kernel: object  # a name, or the Choice that has one
    why: str
    inputs: list
    output: Value | None
    emit: object
    weight_bytes: int = 0
    host: "Host | None" = None


@dataclass
class Host:
    """A layer that runs by itself: planar tensors by number, the number of its output."""

    layer: object
    sources: list
    output: int

    def __call__(self, planar):
        planar[self.output] = self.layer(*(planar[number] for number in self.sources)).contiguous()


@dataclass
class Graph:
    """Steps in order, the packed value of every layer that has one, and all planar tensors."""

    lanes: int
    batch: int
    steps: list = field(default_factory=list)
    values: dict = field(default_factory=dict)  # layer index -> Value
    planar: list = field(default_factory=list)  # shapes (C, H, W)

    def add(self, layer, kernel, why, inputs, output, emit, weight_bytes=0):
        self.steps.append(Step(layer, kernel, why, inputs, output, emit, weight_bytes))
        return output

    def add_host(self, layer, why, sources, output):
        host = Host(layer, sources, output)
        self.steps.append(Step(layer.index, "fallback", why, [], None, None, 0, host))

    def add_planar(self, shape):
        """The number of a new planar tensor."""
        self.planar.append(tuple(shape))
        return len(self.planar) - 1

    def new(self, channels, height, width):
        return new_value(self.lanes, channels, height, width)

    def copied(self, layer, value, why, like=None):
        """A copy of `value` with its channels where those of `like` are (default: the same)."""
        out = Value(
            list((like or value).channels), (like or value).blocks, value.height, value.width
        )
        order = [-1] * (out.blocks * self.lanes)
        for to, source in zip(out.channels, value.channels, strict=False):
            order[to] = source
        if like is None:
            order = []

        def emit(plan):
            plan.copy(value.slice(), out.slice(), order, 1, 1.0)

        return self.add(layer, "copy", why, [value], out, emit)


def place(graph, elements):
    """Gives every root its offset in the arena so that values alive together do not overlap.

    elements: of a root's buffer, a function. Returns the elements of the arena and {root: its first
    element}.
    """
    lives = lifetimes(graph.steps)
    return pack(lives, {root: elements(root) for root in lives})


def lifetimes(steps):
    """{root: (first step, last step)} of all values that the steps read and write."""
    lives = {}
    for number, step in enumerate(steps):
        for value in [*step.inputs, *([step.output] if step.output else [])]:
            root = value.root()[0]
            lives[root] = (lives.get(root, (number, number))[0], number)
    return lives


def pack(lives, sizes):
    """(size of the arena, {root: offset}). Largest first, each at the lowest offset free for its
    whole life."""
    offsets, placed = {}, []
    for root in sorted(lives, key=sizes.get, reverse=True):
        first, last = lives[root]
        offset = 0
        for low, high in sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in placed
            if lives[other][0] <= last and first <= lives[other][1]
        ):
            if offset + sizes[root] <= low:
                break
            offset = max(offset, high)
        offsets[root] = offset
        placed.append(root)
    total = max((offsets[r] + sizes[r] for r in placed), default=16)
    return total, offsets
