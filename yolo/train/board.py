"""--tensorboard: the numbers of metrics.csv for TensorBoard."""

from ..errors import YoloError


class BoardError(YoloError, ImportError):
    """TensorBoard is not installed."""


class Board:
    """Writes rows as scalars into a folder; a run that goes on hides what came after its start."""

    def __init__(self, folder, iteration):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise BoardError(
                f"--tensorboard: {error}; install it with pip install 'darknet-torch[tensorboard]'"
            ) from None
        self.writer = SummaryWriter(str(folder), purge_step=iteration + 1)

    def add(self, row):
        """One iteration."""
        for name, value in row.items():
            if name != "iteration" and value is not None:
                part, _, head = name.partition("_") if name[-1].isdigit() else (name, "", "")
                tag = f"head {head}/{part}" if head else f"train/{name}"
                self.writer.add_scalar(tag, value, row["iteration"])

    def close(self):
        """Writes what is left."""
        self.writer.close()
