"""Figures of a run as TensorBoard's event files (`pip install "prune-dl[tensorboard]"`)."""

from pathlib import Path

from ..errors import UsageError


class TensorBoardTracker:
    """Writes figures into a folder that `tensorboard --logdir` shows."""

    def __init__(self, folder: str | Path) -> None:
        """Open the folder.

        Raises:
            UsageError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "figures for TensorBoard asked for, which is not installed; "
                'install it with pip install "prune-dl[tensorboard]"'
            ) from None
        self.folder = Path(folder)
        self._writer = SummaryWriter(str(folder))

    def metric(self, name: str, value: float, step: int) -> None:
        """Write one figure, to be seen at once."""
        self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, failed: bool) -> None:
        """Close the files."""
        self._writer.close()
