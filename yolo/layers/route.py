"""[route]  the channels of the named layers one after the other, or one group of each."""

from ..ops import Packed, Unwritten, concatenate, packed
from .layer import Layer, times


class Route(Layer):
    """Concatenation; with groups, each source gives its part number group_id alone."""

    def __init__(self, section, place):
        super().__init__(section, place)
        self.sources = self.refer(place, "layers")
        self.groups = section.int("groups", 1, 1)
        self.group_id = section.int("group_id", 0, 0, self.groups - 1)
        section.ignore("stream", "wait_stream")
        self.begin(place)

    def shape(self, *sources):
        for index, source in zip(self.sources, sources, strict=True):
            if source[1:] != sources[0][1:]:
                raise self.section.error(
                    f"joins layer {self.sources[0]} ({times(sources[0])}) and layer {index} "
                    f"({times(source)}), whose height and width differ",
                    "layers",
                )
            if source[0] % self.groups:
                raise self.section.error(
                    f"groups={self.groups} does not divide the {source[0]} channels of layer "
                    f"{index}",
                    "groups",
                )
        return sum(source[0] // self.groups for source in sources), *sources[0][1:]

    @property
    def packs(self):
        channels = [shape[0] for shape in self.in_shapes]
        parts = [c // self.groups for c in channels]
        return packed.can_join(parts) and all(packed.can_part(c, self.groups) for c in channels)

    @property
    def gathers(self):
        return self.groups == 1 and len(self.sources) > 1

    @property
    def writes(self):
        return Unwritten if self.gathers else ()

    def forward(self, *sources, place=None):
        if isinstance(sources[0], Packed):
            return packed.join([packed.part(x, self.groups, self.group_id) for x in sources])
        parts = sources
        if self.groups > 1:
            parts = [x.chunk(self.groups, 1)[self.group_id] for x in sources]
        return parts[0] if len(parts) == 1 else concatenate(parts, place)

    def saved(self):
        return 0

    def describe(self):
        names = " ".join(str(source) for source in self.sources)
        return names, f"{self.group_id}/{self.groups}" if self.groups > 1 else ""
