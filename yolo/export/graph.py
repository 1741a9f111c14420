"""The ONNX graph while it grows: nodes, constants, and names of results."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..errors import YoloError


class ExportError(YoloError):
    """Something that has no form in the other format, or a file that does not agree with us."""


class Graph:
    """Nodes and constants so far, and the name of each layer's output.

    batch: images of one run, or None for any number (the dimension is then called "batch").
    opset: the version of ONNX's operators that may be used.
    """

    def __init__(self, batch, opset):
        self.batch, self.opset = batch, opset
        self.nodes, self.constants, self.names = [], [], {}
        self.states, self.kept = {}, {}  # name -> shape; name -> what is to be returned for it

    def add(self, operator, inputs, name=None, **attributes):
        """Appends a node; returns the name of its output."""
        name = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def several(self, operator, inputs, count, **attributes):
        """Appends a node; returns the names of its first `count` outputs."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        outputs = [f"{name}_{n}" for n in range(count)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))
        return outputs

    def constant(self, values, dtype=np.float32):
        """The name of a stored tensor."""
        name = f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(values, dtype)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def integers(self, *values):
        """The name of a list of integers."""
        return self.constant(values, np.int64)

    def state(self, layer):
        """Names of the tensors of a layer's state, which the graph takes beside the images."""
        shapes = {f"state_{layer.index}_{n}": s for n, s in enumerate(layer.state_shapes())}
        self.states |= shapes
        return list(shapes)

    def keep(self, layer, *values):
        """What the layer's state is for the next image."""
        self.kept |= {f"state_{layer.index}_{n}": value for n, value in enumerate(values)}

    def value(self, name, shape, rows=1):
        """Type of an input or output whose first dimension is the batch, or `rows` for each image
        of it."""
        first = self.batch * rows if self.batch else "batch"
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [first, *shape])

    def value_of(self, name, layer):
        """Type of an output of that layer's shape."""
        return self.value(name, layer.out_shape, layer.rows)

    def reshape(self, x, *shape):
        """(batch, ...) -> (batch or -1, *shape): any factor of the batch stays in front."""
        return self.add("Reshape", [x, self.integers(-1, *shape)])

    def largest(self, x, axis, keepdims=1):
        """Maximum over an axis."""
        axes = [self.integers(axis)] if self.opset >= 18 else []
        attributes = {} if axes else {"axes": [axis]}
        return self.add("ReduceMax", [x, *axes], keepdims=keepdims, **attributes)

    def slice(self, x, begin, end, axis=1):
        """Entries begin .. end of an axis."""
        return self.add("Slice", [x, *(self.integers(n) for n in (begin, end, axis))])

    def every(self, x, step):
        """Every nth row and column."""
        ends = (self.integers(0, 0), self.integers(1 << 31, 1 << 31))
        return self.add("Slice", [x, *ends, self.integers(2, 3), self.integers(step, step)])


def array(tensor):
    """float32 values of a parameter."""
    return tensor.detach().float().cpu().numpy()


def refusal(layer, why):
    """The error that names a layer's place in its file."""
    return ExportError(f"{layer.section.path}: layer {layer.index} [{layer.section.name}] {why}")
