"""One file per cfg section."""

from .activation import Activation
from .avgpool import Avgpool
from .batchnorm import Batchnorm
from .connected import Connected
from .convolutional import Convolutional
from .cost import Cost
from .dropout import Dropout
from .layer import Layer, Place
from .maxpool import Maxpool
from .reorg import Reorg, Reorg3d
from .route import Route
from .sam import Sam
from .scale_channels import ScaleChannels
from .shortcut import Shortcut
from .softmax import Softmax
from .upsample import Upsample
from .yolo import Yolo

__all__ = ["ABSENT", "LAYERS", "Layer", "Place"]

LAYERS = {
    "activation": Activation,
    "avg": Avgpool,
    "avgpool": Avgpool,
    "batchnorm": Batchnorm,
    "conn": Connected,
    "connected": Connected,
    "conv": Convolutional,
    "convolutional": Convolutional,
    "cost": Cost,
    "dropout": Dropout,
    "max": Maxpool,
    "maxpool": Maxpool,
    "reorg": Reorg,
    "reorg3d": Reorg3d,
    "route": Route,
    "sam": Sam,
    "scale_channels": ScaleChannels,
    "shortcut": Shortcut,
    "soft": Softmax,
    "softmax": Softmax,
    "upsample": Upsample,
    "yolo": Yolo,
}

# Sections that Darknet knows and that are not built yet
ABSENT = (
    *("Gaussian_yolo", "contrastive", "conv_lstm", "crnn", "crop", "detection", "empty", "gru"),
    *("history", "implicit", "local", "local_avg", "local_avgpool", "lrn", "lstm"),
    *("normalization", "region", "rnn", "silence"),
)
