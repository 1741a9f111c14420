"""A graph in half precision; what it takes and returns stays float32."""


def halved(model):
    """The same ModelProto with 16-bit weights and sums, by ONNX Runtime's converter."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True)
