"""--log-gradients N: gradients.csv, how large each layer's gradient is every N iterations."""

import torch

from .metrics import Metrics


class Gradients:
    """Columns are `iteration` and INDEX_SECTION of each layer that learns.

    The number is the L2 norm of the gradient by all parameters of the layer, divided by the images
    of the update: that of the mean loss of an image, before the rate, momentum and decay. It is
    empty where the loss did not reach the layer. `python -m yolo plot --what gradients` draws it.
    """

    def __init__(self, net, path, every):
        self.net, self.every = net, every
        learns = [layer for layer in net.layers if any(p.requires_grad for p in layer.parameters())]
        self.layers = {f"{layer.index}_{layer.section.name}": layer for layer in learns}
        self.metrics = Metrics(path, ["iteration", *self.layers])

    def begin(self):
        """Keeps of an earlier file what came before the iteration at which the run goes on."""
        if self.net.iteration and self.metrics.path.is_file():
            self.metrics.read(self.net.iteration)

    @torch.no_grad()
    def book(self, iteration, images):
        """A line, where one is due, from the gradients that the update is about to take. OSError
        where the file does not take it; the line then waits in memory."""
        if iteration % self.every:
            return
        grads = {
            name: [p.grad for p in layer.parameters() if p.grad is not None]
            for name, layer in self.layers.items()
        }
        reached = [name for name, found in grads.items() if found]
        norms = [torch.stack(torch._foreach_norm(grads[name])).norm() for name in reached]
        values = (torch.stack(norms) / images).tolist() if norms else []
        try:
            self.metrics.add({"iteration": iteration} | dict(zip(reached, values, strict=True)))
        except OSError:
            self.metrics.close()  # the next line writes the file anew
            raise

    def close(self):
        """Lets go of the file."""
        self.metrics.close()
