"""Faces of one image: boxes, scores, five landmarks each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..drawing import class_colour, draw_entries, rgb_copy

# As seen in the picture: the eye at its left comes first
LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class Entry(NamedTuple):
    """What drawing wants of a box."""

    name: str
    score: float
    box_xyxy: np.ndarray
    class_id: int


@dataclass
class Faces:
    """The faces of one image, the surest first."""

    boxes_xyxy: np.ndarray  # float64 (n, 4): left, top, right, bottom pixel, the last ones included
    scores: np.ndarray  # float64 (n,), 0..1
    landmarks: np.ndarray  # float64 (n, 5, 2): x, y in pixels, in the order of LANDMARKS
    path: str | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __str__(self) -> str:
        lines = []
        for face in self.to_dict()["faces"]:
            box = " ".join(f"{value:.1f}" for value in face["box_xyxy"])
            marks = "  ".join(f"{k} {x:.1f} {y:.1f}" for k, (x, y) in face["landmarks"].items())
            lines.append(f"face {face['score']:.4f}: {box}  {marks}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, fit for json.dump."""
        rows = zip(self.boxes_xyxy, self.scores, self.landmarks, strict=True)
        faces = [
            {
                "box_xyxy": box.tolist(),
                "score": float(score),
                "landmarks": dict(zip(LANDMARKS, marks.tolist(), strict=True)),
            }
            for box, score, marks in rows
        ]
        return {"filename": self.path, "faces": faces}

    def draw(self, image: Any) -> np.ndarray:
        """A copy of the image, uint8 (H, W, 3) RGB, with boxes and landmarks."""
        canvas = rgb_copy(image)
        rows = zip(self.boxes_xyxy, self.scores, strict=True)
        draw_entries(canvas, [Entry("face", score, box, 0) for box, score in rows])
        radius = max(1, round(sum(canvas.shape[:2]) / 600))
        limit = 2 * max(canvas.shape[:2])  # OpenCV cannot draw beyond 2^31
        for marks in self.landmarks.clip(-limit, limit):
            for x, y in marks.round().astype(int).tolist():
                cv2.circle(canvas, (x, y), radius, class_colour(1), cv2.FILLED, cv2.LINE_AA)
        return canvas
