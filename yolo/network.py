"""[Section] -> Network: an ordinary module that runs its layers in order.

forward     x (N, C, H, W), 0..1 -> outputs of the heads
loss        x, truth -> Report, whose total.backward() leaves Darknet's gradients
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from .cfg import suggestion
from .gathering import Places, gathered, gathered_packed
from .layers import ABSENT, LAYERS, Place
from .layers.layer import check_outputs, times
from .loss.filters import delta_filters
from .ops import Packed, Unwritten, layout, unpack
from .ops.packed import pack
from .options import NetOptions
from .stretches import run_again, stretches

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from os import PathLike

    from typing_extensions import Self, Unpack

    from .detections import Detections
    from .predict import Settings, Source

    Visit = Callable[[Any, list[Any]], Any]  # (layer, its inputs) -> its output, or None


@dataclass
class State:
    """What a head may need to know beside its input and the truth."""

    options: NetOptions
    input_shape: tuple[int, int, int]  # (C, H, W)
    iteration: int
    seen: int
    filters: object = None  # loss.filters.DeltaFilters, where [net] asks for it

    @property
    def height(self) -> int:
        return self.input_shape[1]

    @property
    def width(self) -> int:
        return self.input_shape[2]


@dataclass
class Report:
    """The loss of one mini-batch."""

    total: Tensor  # sum of the heads'; its backward leaves minus Darknet's *_updates in .grad
    cost: float  # mean of the heads' costs for one image, as Darknet prints it
    heads: list[Any]  # HeadLoss of each head, in order
    indices: list[int]  # the number of each head's layer


class Network(nn.Module):
    """A Darknet network."""

    cfg_path: str
    input_shape: tuple[int, int, int]  # (C, H, W)
    names: list[str] | None
    layers: Any  # nn.ModuleList of layers.Layer, each with attributes of its own
    _iteration: int
    heads: list[int]  # the numbers of the layers that forward() returns

    def __init__(self, sections: list[Any], seed: int = 0) -> None:
        super().__init__()
        self.sections = sections
        self.cfg_path = sections[0].path
        self.options = NetOptions.read(_net_section(sections[0]))
        self.input_shape = self.options.input_shape
        self.names = None
        self.seen = 0  # images, in training
        self.is_fused = False
        self.checkpoint_activations = False  # whether training computes them twice, to save memory
        self.layout = "packed"  # of what layers hand on in training; "planar": (N, C, H, W) always
        self.layers = nn.ModuleList(_build(sections, self.options))
        self.iteration = 0
        self.delta_filters = delta_filters(self.options)
        self._plan()
        self._freeze()
        self.reset_parameters(seed)

    @property
    def iteration(self) -> int:
        """Updates of the weights so far."""
        return self._iteration

    @iteration.setter
    def iteration(self, count: int) -> None:
        self._iteration = count
        for layer in self.layers:
            if hasattr(layer, "iteration"):
                layer.iteration = count

    @property
    def is_recurrent(self) -> bool:
        """Whether an image's outputs depend on the images before it."""
        return any(hasattr(layer, "reset") for layer in self.layers)

    def reset_state(self) -> None:
        """Recurrent layers forget what they have seen, those behind predict() too."""
        from .inference import reset_state

        for layer in self.layers:
            if hasattr(layer, "reset"):
                layer.reset()
        reset_state(self)

    def reset_parameters(self, seed: int = 0) -> None:
        """Darknet's initial values, from a seed."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.reset_parameters(generator)

    def _plan(self):
        """Which outputs are wanted, and after which layer each one is read no more."""
        heads = [layer.index for layer in self.layers if layer.is_output]
        self.heads = heads or [len(self.layers) - 1]
        last_reader = {s: layer.index for layer in self.layers for s in layer.sources}
        self._drop = [[] for _ in self.layers]
        for source, reader in last_reader.items():
            self._drop[reader].append(source)
        self._readers = Counter(s for layer in self.layers for s in layer.sources)
        self._unread = {layer.index for layer in self.layers} - set(last_reader)
        self._gathered = gathered(self.layers), gathered_packed(self.layers)

    def _freeze(self):
        """stopbackward and train_only_bn hold for every layer up to the one that has them."""
        self._frozen_until = [0] * len(self.layers)  # iteration from which a layer trains
        until, fixed = 0, False
        for layer in reversed(self.layers):
            until = max(until, math.inf if layer.stopbackward == 1 else layer.stopbackward)
            fixed = fixed or layer.train_only_bn or until == math.inf
            self._frozen_until[layer.index] = until
            if fixed:
                layer.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation; layers that never train stay in evaluation."""
        super().train(mode)
        for layer, until in zip(self.layers, self._frozen_until, strict=True):
            if until == math.inf:
                layer.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Outputs of the heads, activated as Darknet leaves them (no head: the last layer's)."""
        with layout(self.layout if self.training else "planar"):
            kept = self._run(x, keep=set(self.heads))
        return [kept[index] for index in self.heads]

    def outputs(self, x: Tensor) -> list[Tensor]:
        """The output of every layer."""
        with layout("planar"):  # each output is the very tensor that the next layer reads
            kept = self._run(x, keep=set(range(len(self.layers))))
        return [kept[index] for index in range(len(self.layers))]

    def _run(self, x, keep, visit=None):
        """The outputs to be kept, after a run through all layers; visit: as of advance()."""
        self.check_images(x)
        outputs = {-1: x}
        again = self.checkpoint_activations and self.training and torch.is_grad_enabled()
        for layers, repeated in stretches(self.layers) if again else [(self.layers, False)]:
            if repeated:
                run_again(partial(self.advance, layers, keep=keep), layers, outputs)
            else:
                self.advance(layers, outputs, keep, visit)
        return {index: unpack(outputs[index]) for index in keep}

    def advance(
        self,
        layers: Sequence[Any],
        outputs: dict[int, Any],
        keep: Collection[int],
        visit: Visit | None = None,
    ) -> None:
        """Runs some layers: `outputs`, by their numbers, loses what is read no more and gains what
        they give. keep: what stays all the same. visit(layer, inputs) may give an output itself,
        or None."""
        places = Places(layers, *self._gathered)
        for layer in layers:
            inputs = _readable(layer, [outputs[source] for source in layer.sources])
            made = visit(layer, inputs) if visit else None
            if layer.index in keep or layer.index not in self._unread:
                if made is None:
                    made = self._step(layer, inputs, places.given(layer, inputs))
                if isinstance(made, Unwritten):
                    made.place = places.unwritten(layer)
                plain = isinstance(made, Tensor)
                outputs[layer.index] = made if plain else made.expect(self._readers[layer.index])
            for source in self._drop[layer.index]:
                if source not in keep:
                    del outputs[source]

    @property
    def still(self) -> list[int]:
        """The layers through which no gradient goes now: onlyforward, stopbackward."""
        until = zip(self.layers, self._frozen_until, strict=True)
        return [a.index for a, n in until if a.onlyforward or self.iteration < n]

    def _step(self, layer, inputs, place):
        how = {"place": place} if place else {}
        if layer.onlyforward or self.iteration < self._frozen_until[layer.index]:
            with torch.no_grad():
                return layer(*inputs, **how)
        return layer(*inputs, **how)

    def check_images(self, x: Tensor) -> None:
        """Refuses what is no batch of images of the network's size."""
        if x.dim() != 4 or tuple(x.shape[1:]) != self.input_shape:
            raise ValueError(
                f"{self.cfg_path}: the network takes (N, {', '.join(map(str, self.input_shape))}), "
                f"got {tuple(x.shape)}; resize() sets another height and width"
            )

    def loss(self, x: Tensor, truth: Tensor) -> Report:
        """truth: boxes (M, 6) image index, class, x, y, w, h, relative; or labels (N)."""
        return self.report(partial(self._run, x, ()), truth, len(x))

    def report(self, run: Callable[[Visit], object], truth: Tensor, images: int) -> Report:
        """The loss where run(visit) goes through the layers that have one, of so many images."""
        state = State(self.options, self.input_shape, self.iteration, self.seen, self.delta_filters)
        heads, indices = [], []

        def visit(layer, inputs):
            if not hasattr(layer, "loss") or layer.onlyforward:
                return None
            heads.append(layer.loss(*inputs, truth, state))
            indices.append(layer.index)
            return heads[-1].output

        with layout(self.layout if self.training else "planar"):
            run(visit)
        if not heads:
            raise ValueError(f"{self.cfg_path}: has no layer with a loss, such as [yolo]")
        cost = sum(head.cost for head in heads) / len(heads) / max(1, images)
        return Report(sum(head.total for head in heads), cost, heads, indices)

    def resize(self, height: int, width: int) -> Self:
        """Takes inputs of another size from now on; weights stay."""
        if min(height, width) < 1:
            raise ValueError(f"{self.cfg_path}: cannot be resized to {height} x {width}")
        shapes = {-1: (self.input_shape[0], height, width)}
        for layer in self.layers:
            shapes[layer.index] = layer.shape(*(shapes[source] for source in layer.sources))
            check_outputs(layer, shapes[layer.index])
        self.input_shape = shapes[-1]
        for layer in self.layers:
            layer.resized([shapes[s] for s in layer.sources], shapes[layer.index])
        return self

    def fused(self) -> Self:
        """A copy for inference, batch normalisation folded into the weights."""
        net = copy.deepcopy(self).eval().requires_grad_(False)
        for layer in net.layers:
            layer.fuse()
        net.is_fused = True
        return net

    @overload
    def predict(self, source: Any, *, stream: Literal[True], **settings: Unpack[Settings]
                ) -> Iterator[Detections]: ...  # fmt: skip

    # A path may be one image or a folder, an array one or a stack: type checkers see a Detections
    # and let everything else pass. A str is an iterable of str as well, hence the order.
    @overload
    def predict(self, source: Source, *,  # type: ignore[overload-overlap]
                stream: Literal[False] = False,
                **settings: Unpack[Settings]) -> Detections | Any: ...  # fmt: skip

    @overload
    def predict(self, source: Iterable[Source], *, stream: Literal[False] = False,
                **settings: Unpack[Settings]) -> list[Detections]: ...  # fmt: skip

    def predict(self, source: Any, **settings: Any) -> Any:
        """Detections of an image, or a list of them for several: a path, folder, pattern, video,
        array, tensor, PIL image or list; stream=True gives a generator. See yolo.predict."""
        from .predict import predict

        return predict(self, source, **settings)

    def export(self, path: str | PathLike[str], **settings: Any) -> dict[str, float | None]:
        """Writes an ONNX file that other programs have run and agreed with. See
        yolo.export.to_onnx."""
        from .export import to_onnx

        return to_onnx(self, path, **settings)

    def summary(self) -> str:
        """Darknet's table of layers, with totals."""
        from .summary import table

        return table(self)

    def summary_dict(self) -> dict[str, Any]:
        """The table's content, for JSON."""
        from .summary import as_dict

        return as_dict(self)

    def extra_repr(self) -> str:
        return f"{self.cfg_path}, input {times(self.input_shape)}, {len(self.layers)} layers"


def _readable(layer, inputs):
    """Inputs in a layout that the layer knows: packed ones where one is and it takes them."""
    if any(isinstance(x, Packed) for x in inputs) and layer.packs:
        return [x.reader() if isinstance(x, Packed) else pack(x) for x in inputs]
    return [x if isinstance(x, layer.writes) else unpack(x) for x in inputs]


def _net_section(section):
    if section.name not in ("net", "network"):
        raise section.error(f"stands first, where [net] must{suggestion(section.name, ['net'])}")
    return section


def _build(sections, options):
    """The layers, none of them larger than the limits, unknown keys warned of."""
    if len(sections) == 1:
        raise sections[0].error("is the only section: the network has no layer")
    place = Place(options, {-1: options.input_shape})
    check_input(sections[0], options)
    for section in sections[1:]:
        layer = layer_class(section)(section, place)
        place.add(layer)
        section.warn_unknown()
    return place.layers


def check_input(section: Any, options: NetOptions) -> None:
    """Refuses an input beyond the limits."""
    check_outputs(_Input(section), options.input_shape)


@dataclass
class _Input:
    section: object


def layer_class(section: Any) -> Any:
    """What builds the layer of a section: a class, or a function of (section, place)."""
    if section.name in LAYERS:
        return LAYERS[section.name]
    if section.name in ABSENT:
        raise section.error(f"cannot be built: this section {ABSENT[section.name]}")
    if section.name in ("net", "network"):
        raise section.error("must be the first section, and stand only once")
    raise section.error(f"is not a known section{suggestion(section.name, LAYERS)}")
