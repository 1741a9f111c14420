"""[contrastive]  y = x: vectors that tell objects apart, one for each box of a [yolo] head."""

from .layer import Layer

# They shape the loss alone.
IGNORED = (
    *("classes", "yolo_layer", "temperature", "cls_normalizer", "max_delta"),
    "contrastive_neg_max",
)


class Contrastive(Layer):
    """Passes its input on. Its loss compares an object with itself in the next pictures of a
    video; labels here are of single pictures, and do not say which object is which."""

    def __init__(self, section, place):
        super().__init__(section, place)
        section.ignore(*IGNORED)
        self.begin(place)

    def forward(self, x):
        return x

    def loss(self, x, boxes, state):
        """Refused."""
        raise self.section.error(
            "cannot be trained: its loss needs objects that are followed through a video, and "
            "labels name none; onlyforward=1 trains the rest of the network"
        )

    def saved(self):
        return 0
