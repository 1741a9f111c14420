"""One file per cfg section."""

from .activation import Activation
from .avgpool import Avgpool
from .batchnorm import Batchnorm
from .connected import Connected
from .contrastive import Contrastive
from .conv_lstm import ConvLstm
from .cost import Cost
from .crnn import Crnn
from .crop import Crop
from .detection import Detection
from .dropout import Dropout
from .empty import Empty
from .fast_rcnn import FastRcnn
from .gaussian_yolo import GaussianYolo
from .gru import Gru
from .history import History
from .implicit import Implicit
from .layer import Layer, Place
from .local import Local
from .local_avgpool import LocalAvgpool
from .lstm import Lstm
from .maxpool import pool
from .mtcnn import Mtcnn
from .normalization import Normalization
from .prelu import Prelu
from .rare_convolutional import convolution
from .region import Region
from .reorg import Reorg, Reorg3d
from .rnn import Rnn
from .roi_align import RoiAlign
from .roi_pool import RoiPool
from .route import Route
from .rpn import Rpn
from .sam import Sam
from .scale_channels import ScaleChannels
from .shortcut import Shortcut
from .softmax import Softmax
from .upsample import Upsample
from .yolo import Yolo

__all__ = ["ABSENT", "LAYERS", "Layer", "Place"]

# What builds the layer of each section
LAYERS = {
    "Gaussian_yolo": GaussianYolo,
    "activation": Activation,
    "avg": Avgpool,
    "avgpool": Avgpool,
    "batchnorm": Batchnorm,
    "conn": Connected,
    "connected": Connected,
    "contrastive": Contrastive,
    "conv": convolution,
    "conv_lstm": ConvLstm,
    "convolutional": convolution,
    "cost": Cost,
    "crnn": Crnn,
    "crop": Crop,
    "detection": Detection,
    "dropout": Dropout,
    "empty": Empty,
    "fast_rcnn": FastRcnn,
    "gru": Gru,
    "history": History,
    "implicit": Implicit,
    "local": Local,
    "local_avg": LocalAvgpool,
    "local_avgpool": LocalAvgpool,
    "lrn": Normalization,
    "lstm": Lstm,
    "max": pool,
    "maxpool": pool,
    "mtcnn": Mtcnn,
    "normalization": Normalization,
    "prelu": Prelu,
    "region": Region,
    "reorg": Reorg,
    "reorg3d": Reorg3d,
    "rnn": Rnn,
    "roi_align": RoiAlign,
    "roi_pool": RoiPool,
    "route": Route,
    "rpn": Rpn,
    "sam": Sam,
    "scale_channels": ScaleChannels,
    "shortcut": Shortcut,
    "silence": Empty,
    "soft": Softmax,
    "softmax": Softmax,
    "upsample": Upsample,
    "yolo": Yolo,
}

# Sections of Darknets that are not built, and why
_ALONE = "is in one author's last version alone, and no network was published with it"
ABSENT = {"iseg": _ALONE, "l2norm": _ALONE, "logistic": _ALONE}
