"""Darknet networks in PyTorch: .cfg and .weights in, detections and trained weights out.

    net = yolo.load("cfg/yolov4-tiny.cfg", "yolov4-tiny.weights")
    net.predict("dog.jpg")
"""

__version__ = "0.1.0"
__all__ = ["Detections", "Network", "load"]


def load(cfg, weights=None, device="cpu"):
    """The network of a .cfg file, with the values of a .weights file when one is given."""
    from . import weights as weights_file
    from .cfg import read
    from .network import Network

    net = Network(read(cfg))
    if weights is not None:
        weights_file.load(net, weights)
    return net.to(device).eval()


def __getattr__(name):
    # Imported when first asked for: `import yolo` alone stays quick and needs no compiled part.
    if name == "Network":
        from .network import Network

        return Network
    if name == "Detections":
        from .detections import Detections

        return Detections
    raise AttributeError(f"module 'yolo' has no attribute {name!r}")
