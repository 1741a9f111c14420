"""What every layer has: its section, the layers it reads, its shape, its place in files and tables.

A layer is an ordinary module whose forward takes the outputs of `sources` in that order. Shapes
are (C, H, W) of one image; tensors are (N, C, H, W). A layer whose `packs` is true may be given
`ops.Packed` tensors instead, all of them or none, and then returns one; nobody else sees them.
A layer may also be given what its `writes` names of `ops.Unwritten`, which it writes with what it
computes.
"""

from dataclasses import dataclass, field
from math import prod

from torch import nn

from ..loss.head import Averages

# A network beyond these is refused before anything of it is allocated. The largest published one
# has 272 million parameters.
MAX_PARAMETERS = 300_000_000
MAX_OUTPUTS = 1 << 28  # elements of one layer's output for one image
MAX_TOTAL_OUTPUTS = 1 << 32  # the same, all layers together


@dataclass
class Place:
    """Where a layer stands while the network is being built."""

    options: object  # of [net]
    shapes: dict = field(default_factory=dict)  # index -> (C, H, W), -1 being the network's input
    layers: list = field(default_factory=list)  # those built so far
    regions: dict = field(default_factory=dict)  # index -> roi.Regions, where outputs are of those
    changed: dict = field(default_factory=dict)  # index -> layer that works in place on it
    parameters: int = 0  # elements allocated so far
    outputs: int = 0  # elements of all outputs so far, for one image

    @property
    def index(self):
        """Number of the layer now being built."""
        return len(self.layers)

    def source(self, index):
        """The layer whose output really is read where `index` is asked for.

        A layer that works in place changes its input for everybody who reads that later.
        """
        last = index
        while last in self.changed:
            last = self.changed[last]
        if last != index:
            self.changed[index] = last  # shortens the way for the next one
        return last

    def check(self, section, what, count):
        """Counts stored elements that are about to be allocated; refuses more than the limit."""
        self.parameters += count
        if self.parameters > MAX_PARAMETERS:
            raise section.error(
                f"needs {count:,} {what}; with the layers before it {self.parameters:,}, and no "
                f"more than {MAX_PARAMETERS:,} are allowed"
            )

    def add(self, layer):
        """Takes a finished layer in, its output checked against the limits."""
        check_outputs(layer, layer.out_shape)
        self.outputs += layer.rows * prod(layer.out_shape)
        if self.outputs > MAX_TOTAL_OUTPUTS:
            raise layer.section.error(
                f"the outputs up to here have {self.outputs:,} elements for one image; no more "
                f"than {MAX_TOTAL_OUTPUTS:,} are allowed"
            )
        if layer.in_place:
            self.changed[layer.sources[0]] = layer.index
        self.shapes[self.index] = layer.out_shape
        if layer.regions is not None:
            self.regions[self.index] = layer.regions
        self.layers.append(layer)


def check_outputs(layer, shape):
    """Refuses a shape that is empty or beyond the limit."""
    if min(shape) < 1:
        raise layer.section.error(
            f"would have no output: {times(shape)} (channels x height x width)"
        )
    if prod(shape) > MAX_OUTPUTS:
        raise layer.section.error(
            f"would put out {times(shape)} = {prod(shape):,} elements for one image; no more than "
            f"{MAX_OUTPUTS:,} are allowed"
        )


def times(shape):
    """(3, 4, 5) -> 3 x 4 x 5."""
    return " x ".join(str(n) for n in shape)


class Layer(nn.Module):
    """Base of all layers: reads the keys that every section may have."""

    in_place = False  # whether the input itself is changed, as [dropout] does in Darknet
    packs = False  # whether forward also takes tensors in the layout of the CPU kernels
    places = False  # whether forward takes an ops.place.Part to write a Packed to: place=
    # whether it only puts its inputs one after the other along the channels; its forward takes the
    # ops.place.Whole in which some of them stand: place=
    gathers = False
    writes = ()  # kinds of ops.Unwritten that forward also takes
    is_output = False  # whether calling the network returns this layer's output
    regions = None  # roi.Regions, where forward gives an output for each of those, not each image
    changes = None  # why two calls with the same input may differ by more than random numbers
    constant_inputs = ()  # numbers of the inputs that get no gradient
    averages = Averages  # what training shows of its loss, if it has one

    def __init__(self, section, place):
        super().__init__()
        self.section = section
        self.index = place.index
        self.sources = [place.source(place.index - 1)]
        self._read_common(section)

    def _read_common(self, section):
        self.learning_rate = section.float("learning_rate", 1.0)  # times the network's
        self.clip = section.float("clip", 0.0, 0.0)  # weights stay within +-clip
        self.onlyforward = section.bool("onlyforward", False)
        self.dont_update = section.int("dont_update", 0)  # first iterations without update
        self.burnin_update = section.int("burnin_update", 0)  # the same, in burn_in periods
        self.stopbackward = section.int("stopbackward", 0)
        self.train_only_bn = section.bool("train_only_bn", False)
        self.dontload = section.bool("dontload", False)
        self.dontloadscales = section.bool("dontloadscales", False)

    def begin(self, place):
        """Sets in_shapes and out_shape, once the keys that shape() needs are read."""
        self.in_shapes = [place.shapes[source] for source in self.sources]
        self.regions = self.join(place)
        self.out_shape = self.shape(*self.in_shapes)

    def join(self, place):
        """What this layer gives an output for: the Regions of its inputs, None being images."""
        kinds = [place.regions.get(source) for source in self.sources]
        if any(kind is not kinds[0] for kind in kinds):
            raise self.section.error(
                "joins outputs of images with outputs of regions of interest, or those of two [rpn]"
            )
        if kinds[0] is not None and (hasattr(self, "loss") or hasattr(self, "reset")):
            raise self.section.error(
                "takes images, and the layer before gives regions of interest, which end in "
                "[fast_rcnn]"
            )
        return kinds[0]

    @property
    def rows(self):
        """Outputs for one image."""
        return self.regions.proposals if self.regions else 1

    @property
    def trained_rows(self):
        """Outputs for one image in training, at most."""
        return self.regions.trained if self.regions else 1

    def resized(self, in_shapes, out_shape):
        """Takes new shapes, which shape() has approved."""
        self.in_shapes, self.out_shape = in_shapes, out_shape

    def shape(self, *in_shapes):
        """(C, H, W) of the output for these inputs; raises a CfgError where they do not fit."""
        return in_shapes[0]

    def stored(self):
        """Tensors of the .weights file, in its order."""
        return ()

    def loaded(self):
        """Those of stored() that a file given to this network holds: dontload, dontloadscales."""
        if self.dontload:
            return []
        left_out = ("scale", "rolling_mean", "rolling_var") if self.dontloadscales else ()
        skipped = [id(getattr(self, name, None)) for name in left_out]
        return [tensor for tensor in self.stored() if id(tensor) not in skipped]

    def reset_parameters(self, generator):
        """Darknet's initial values."""

    def fuse(self):
        """Folds batch normalisation into weights, for inference."""

    def flops(self):
        """Operations for one image, as Darknet counts them."""
        return 0

    def window(self):
        """(size, stride) of what one output cell sees of the input, for the receptive field."""
        return 1, 1

    def saved(self):
        """Elements kept for one image until the backward pass, for the estimate of memory."""
        return prod(self.out_shape)

    def describe(self):
        """Columns `filters` and `size/strd(dil)` of the table."""
        return "", ""

    def refer_one(self, place, key):
        """The index of the earlier layer that one relative or absolute number names, in a list."""
        found = self.refer(place, key)
        if len(found) > 1:
            raise self.section.error(f"{key} names {len(found)} layers, one is needed", key)
        return found

    def refer(self, place, key):
        """Indices of earlier layers that a list of relative or absolute numbers names."""
        numbers = self.section.ints(key)
        if not numbers:
            raise self.section.error(f"{key} names no layer", key)
        return [place.source(self._resolve(number, key)) for number in numbers]

    def _resolve(self, number, key):
        index = number + self.index if number < 0 else number
        here = f"(this is layer {self.index})"
        if index < 0:
            raise self.section.error(f"{key}={number} points before the first layer {here}", key)
        if index >= self.index:
            raise self.section.error(
                f"{key}={number} does not point to an earlier layer {here}", key
            )
        return index

    def refuse(self, keys):
        """Keys (with reasons) of things that are not there; they may stand in the file as 0."""
        for key, reason in keys.items():
            self.section.notes[key] = f"refused: {reason}"
            if self.section.float(key, 0.0):
                raise self.section.error(f"{key} is not available: {reason}", key)
