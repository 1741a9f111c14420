"""The networks in cfg/ beside what was published about them."""

import pytest

from yolo.cfg import read
from yolo.network import Network

MIB = 1 << 20
README = "README of github.com/AlexeyAB/darknet, Pre-trained models"
IMAGENET = "pjreddie.com/darknet/imagenet, Pre-Trained Models"
SCALED = "arxiv.org/abs/2011.08036 and " + README
YOLOV7 = "arxiv.org/abs/2207.02696, table 2"

YOLOV2 = "pjreddie.com/darknet/yolo, Performance on the COCO Dataset; files as served there"

# name: (MiB of the weights file, GFLOP, side at which they hold, source); None: not published
PUBLISHED = {
    "yolov1-tiny": (103, None, 448, "pjreddie.com/darknet/yolov1, Fast YOLO"),
    "yolov2": (194.49, 62.94, 608, YOLOV2),
    "yolov2-tiny": (42.87, 5.41, 416, YOLOV2),
    "yolov3-tiny-prn": (18.8, 3.5, 416, README),
    "enet-coco": (18.3, 3.7, 416, README),
    "csresnext50-panet-spp": (217, 71.3, 512, README),
    "yolov4x-mish": (381, 221, 640, README),
    "yolov4-csp-swish": (202, 120, 640, README),
    "yolov4-csp": (202, 77, 512, README),
    "yolov4-p5": (271, None, 896, SCALED),
    "alexnet": (238, 2.27, 227, IMAGENET),
    "vgg-16": (528, 30.94, 256, IMAGENET),
    "resnet50": (87, 9.74, 256, IMAGENET),
    "resnet152": (220, 29.39, 256, IMAGENET),
    "densenet201": (66, 10.85, 256, IMAGENET),
    "tiny": (4.0, 0.98, 224, "pjreddie.com/darknet/tiny-darknet"),
}
# name: (million parameters, GFLOP, side, source)
PARAMETERS = {
    "yolov7": (36.9, 104.7, 640, YOLOV7),
    "yolov7-tiny": (6.2, 5.8, 416, YOLOV7),
}


@pytest.fixture(autouse=True)
def without_values(monkeypatch):
    """Sizes alone count here."""
    monkeypatch.setattr(Network, "reset_parameters", lambda net, seed=0: None)


def network(cfg_folder, name, side):
    net = Network(read(cfg_folder / f"{name}.cfg"))
    return net if net.input_shape[1:] == (side, side) else net.resize(side, side)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.filterwarnings("error")
def test_size_and_operations_as_published(cfg_folder, name):
    size, gflop, side, source = PUBLISHED[name]
    summary = network(cfg_folder, name, side).summary_dict()
    digits = 0.06 if isinstance(size, float) else 0.6  # sources round up and down
    assert summary["weights_bytes"] / MIB == pytest.approx(size, abs=digits), source
    if gflop:
        rounding = 0.05 if gflop < 10 else gflop * 5e-3
        assert summary["bflops"] == pytest.approx(gflop, abs=rounding), source


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.filterwarnings("error")
def test_parameters_and_operations_as_published(cfg_folder, name):
    millions, gflop, side, source = PARAMETERS[name]
    summary = network(cfg_folder, name, side).summary_dict()
    assert summary["parameters"] / 1e6 == pytest.approx(millions, abs=0.06), source
    assert summary["bflops"] == pytest.approx(gflop, rel=5e-3), source


def weights_of_layers(cfg_folder, name):
    return [
        sum(tensor.numel() for tensor in layer.stored())
        for layer in Network(read(cfg_folder / f"{name}.cfg")).layers
    ]


# Nothing was published about these; layer by layer they are a known network but for the heads.
@pytest.mark.parametrize(
    ("name", "known", "same_layers"),
    [
        ("yolov2-voc", "yolov2", 30),
        ("Gaussian_yolov3_BDD", "yolov3", 81),
        ("yolov3-voc", "yolov3", 81),
        ("yolov3-5l", "yolov3", 106),
        ("yolov3-tiny_3l", "yolov3-tiny", 22),
        ("yolov4-tiny-3l", "yolov4-tiny", 36),
    ],
)
@pytest.mark.filterwarnings("error")
def test_variants_share_the_layers_of_their_origin(cfg_folder, name, known, same_layers):
    variant, origin = weights_of_layers(cfg_folder, name), weights_of_layers(cfg_folder, known)
    assert variant[:same_layers] == origin[:same_layers]


@pytest.mark.filterwarnings("error")
def test_cifar_builds(cfg_folder):
    net = Network(read(cfg_folder / "cifar.cfg"))
    assert net.layers[-1].out_shape == (10, 1, 1)
