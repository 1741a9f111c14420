"""What a type checker sees of the package: never run, checked by test_public.py."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from typing_extensions import assert_type

import yolo
from yolo import convert
from yolo.detections import Detection, Detections
from yolo.network import Network, Report

net = yolo.load("a.cfg", Path("a.weights"), device=torch.device("cpu"), strict=True)
assert_type(net, Network)
assert_type(net.names, list[str] | None)
assert_type(net.input_shape, tuple[int, int, int])
assert_type(net.iteration, int)
assert_type(net.outputs(torch.rand(1, 3, 4, 4)), list[torch.Tensor])
assert_type(net.forward(torch.rand(1, 3, 4, 4)), list[torch.Tensor])
assert_type(net.loss(torch.rand(1, 3, 4, 4), torch.rand(1, 6)), Report)
assert_type(net.train().eval().resize(4, 4).fused(), Network)
assert_type(yolo.weights.load(net, Path("a.weights"), cutoff=3), int)
yolo.weights.save(net, "a.safetensors", version=(0, 2, 5))
yolo.weights.save(net, "a.weights", version="0.2.5")  # type: ignore[arg-type]
assert_type(net.summary(), str)
assert_type(net.summary_dict(), dict[str, Any])

found = net.predict("dog.jpg", thresh=0.5, letterbox=True)
assert_type(found, Detections | Any)
assert_type(net.predict(["a.jpg", np.zeros((4, 4, 3), np.uint8)], batch=2), list[Detections])
assert_type(net.predict("clip.mp4", stream=True), Iterator[Detections])
net.predict("dog.jpg", tresh=0.5)  # type: ignore[call-overload]
net.predict("dog.jpg", thresh="high")  # type: ignore[call-overload]

one = Detections(np.zeros((1, 4)), np.ones(1), np.zeros(1), ["dog"], (4, 4))
assert_type(one[0], Detection)
assert_type(one[one.scores > 0.5], Detections)
assert_type(one[:1].sorted().clipped().scaled((8, 8)), Detections)
assert_type(len(one), int)
assert_type([entry.box_xyxy for entry in one], list[tuple[float, float, float, float]])
assert_type(one.to_coco(1), list[dict[str, Any]])
assert_type(one.to_darknet_labels(), str)
assert_type(yolo.convert.from_coco(one.to_coco(1)), Detections)
assert_type(convert.from_darknet_labels("a.txt", (4, 4)), Detections)
one.draw(np.zeros((4, 4, 3), np.uint8), thickness="wide")  # type: ignore[arg-type]
