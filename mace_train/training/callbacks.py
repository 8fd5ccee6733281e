"""What is written to the run's folder while it trains: metrics.csv and the checkpoints.

Floor 3. Files are complete or absent: they are written under another name, brought to the
disk, and renamed.
"""
# ruff: noqa: ARG002 - Lightning gives its hooks more than each of them needs

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import Checkpoint

from mace_train.constraints import NonNegativeInt, PositiveInt
from mace_train.training.history import History
from mace_train.training.module import MACEModule

if TYPE_CHECKING:
    import lightning


class EpochCallback(Checkpoint):
    """A callback whose end of an epoch comes after that of `MACEModule`.

    Lightning calls the module first and its ``Checkpoint`` callbacks last, in the order
    given.
    """


class HistoryWriter(EpochCallback):
    """Write a row of metrics.csv for every epoch; only rank zero writes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.history = History(path)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Cut the rows beyond the checkpoint that the run goes on from."""
        if trainer.is_global_zero:
            self.history.begin(trainer.current_epoch)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write the epoch's row."""
        assert isinstance(pl_module, MACEModule)
        if trainer.is_global_zero:
            self.history.append(pl_module.row)


class CheckpointWriter(EpochCallback):
    """Write ``last.ckpt`` and ``best.ckpt`` into the run's folder ``checkpoints``.

    The best is that of the present stage; when a second stage begins, the best of the first
    stays as ``best_stage_one.ckpt``.

    Args:
        every_epochs: Epochs between two writings of ``last.ckpt``; it is also written at
            the end.
        probe_frames: Training frames that the model file keeps with the model's
            predictions.
    """

    def __init__(
        self, *, every_epochs: PositiveInt = 1, probe_frames: NonNegativeInt = 50
    ) -> None:
        self.every_epochs = every_epochs
        self.probe_frames = probe_frames
        self._stage = 1

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Take note of the stage that the run goes on with."""
        assert isinstance(pl_module, MACEModule)
        self._stage = pl_module.stages.current

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write what the epoch asks for; all ranks take part."""
        assert isinstance(pl_module, MACEModule)
        folder = Path(trainer.default_root_dir) / "checkpoints"
        last, best = folder / "last.ckpt", folder / "best.ckpt"
        if pl_module.stages.current != self._stage:
            self._stage = pl_module.stages.current
            if trainer.is_global_zero and best.exists():
                best.replace(folder / "best_stage_one.ckpt")
        done = trainer.current_epoch + 1
        is_end = trainer.should_stop or done == trainer.max_epochs
        if pl_module.is_best:
            save_checkpoint(trainer, best)
        if done % self.every_epochs == 0 or is_end:
            if not pl_module.is_best:
                save_checkpoint(trainer, last)
            elif trainer.is_global_zero:
                partial = last.with_name("last.ckpt.partial")
                shutil.copyfile(best, partial)
                finish_file(partial, last)


def save_checkpoint(trainer: lightning.Trainer, path: Path) -> None:
    """Write the state of a run; an older file stays until the new one is complete.

    All ranks have to call this; rank zero writes.
    """
    partial = path.with_name(path.name + ".partial")
    trainer.save_checkpoint(partial)
    if trainer.is_global_zero:
        finish_file(partial, path)
    trainer.strategy.barrier("save_checkpoint")


def finish_file(partial: Path, path: Path) -> None:
    """Bring a written file to the disk and give it its name in one step."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
