"""Other programs that run the same network on the CPU, each as a function x -> list of tensors.

All but PyTorch get the network as an ONNX graph (yolo/export/onnx.py), so that they start from the
same folded weights. A peer's worker threads must not keep spinning while another one is timed.
"""

import torch

from yolo import ops


def torch_peers(net, x, threads, precision):
    """The folded network on PyTorch's operators, in both memory layouts."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    found = {}
    for name, layout in (
        ("torch", torch.contiguous_format),
        ("torch channels_last", torch.channels_last),
    ):
        folded = net.fused().to(dtype=dtype, memory_format=layout)

        def run(x, folded=folded, layout=layout):
            with ops.backend("torch"), torch.no_grad():
                return folded(x.to(dtype=dtype, memory_format=layout))

        found[name] = run
    return found


def openvino(net, x, threads, precision):
    from openvino import Core

    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    settings = {
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = Core()
    compiled = core.compile_model(core.read_model(graph(net, len(x))), "CPU", settings)
    got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if got != hint:
        raise Missing(f"computes in {got} here, not in {hint}")

    def run(x):
        results = compiled([x.numpy()])
        return [torch.from_numpy(results[output]) for output in compiled.outputs]

    return {"openvino": run}


def onnxruntime(net, x, threads, precision):
    import onnxruntime

    if precision != "fp32":
        raise Missing("has no bf16 on CPUs")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # between two runs
    session = onnxruntime.InferenceSession(
        graph(net, len(x)), options, providers=["CPUExecutionProvider"]
    )
    return {
        "onnxruntime": lambda x: [
            torch.from_numpy(y) for y in session.run(None, {"images": x.numpy()})
        ]
    }


def opencv(net, x, threads, precision):
    import cv2
    import numpy as np

    if precision != "fp32":
        raise Missing("has no bf16 on CPUs")
    cv2.setNumThreads(threads)
    read = cv2.dnn.readNetFromONNX(np.frombuffer(graph(net, len(x)), np.uint8))
    names = [f"head_{index}" for index in net.heads]

    def run(x):
        read.setInput(x.numpy())
        return [torch.from_numpy(y) for y in read.forward(names)]

    return {f"opencv {cv2.__version__}": run}


class Missing(Exception):
    """A peer cannot do what was asked."""


def graph(net, batch):
    """The network as the bytes of an ONNX model."""
    from yolo.export.onnx import model

    return model(net, batch).SerializeToString()


PEERS = {
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "opencv": opencv,
    "torch": torch_peers,
}


def open_peers(names, net, x, threads, precision):
    """{name: function} of those peers that are installed and can do it; says which cannot."""
    found = {}
    for name in names:
        try:
            found |= PEERS[name](net, x, threads, precision)
        except (ImportError, Missing) as error:
            print(f"  {name} left out: {error}")
    return found
