"""What is written to the run's folder while it trains: metrics.csv and the checkpoints.

Floor 4. Files are complete or absent: they are written under another name, brought to the
disk, and renamed.
"""
# ruff: noqa: ARG002 - Lightning gives its hooks more than each of them needs

from __future__ import annotations

import logging
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from mace_train.constraints import NonNegativeInt, PositiveFloat, PositiveInt
from mace_train.training.checkpoint_folder import CheckpointFolder
from mace_train.training.history import History
from mace_train.training.module import MACEModule
from mace_train.training.whole_file import finish_file, partial_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightning

logger = logging.getLogger(__name__)


class EpochCallback(Checkpoint):
    """A callback whose end of an epoch comes after that of `MACEModule`.

    Lightning calls the module first and its ``Checkpoint`` callbacks last, in the order
    given.
    """


class HistoryWriter(EpochCallback):
    """Write a row of metrics.csv for every epoch; only rank zero writes.

    Args:
        path: The file.
        more_columns: What callbacks measure.
    """

    def __init__(self, path: Path, *, more_columns: Sequence[str] = ()) -> None:
        self.history = History(path, more_columns=more_columns)

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
        every_steps: Steps of the optimizer between two writings, in the middle of an epoch
            too; None: it does not depend on them.
        every_minutes: Minutes between two writings; None: it does not depend on them.
        keep: How many of the newest are kept, as ``last.ckpt``, ``last-1.ckpt`` ...
        probe_frames: Training frames that the model file keeps with the model's
            predictions.

    Attributes:
        seconds_of_last_write: How long the run last stood still for a checkpoint; 0 before
            the first.
    """

    def __init__(
        self,
        *,
        every_epochs: PositiveInt = 1,
        every_steps: PositiveInt | None = None,
        every_minutes: PositiveFloat | None = 10.0,
        keep: PositiveInt = 3,
        probe_frames: NonNegativeInt = 50,
    ) -> None:
        self.every_epochs = every_epochs
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.keep = keep
        self.probe_frames = probe_frames
        self.seconds_of_last_write = 0.0
        self._stage: int | None = None
        self._written_step = -1
        self._written_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The stage that ``best.ckpt`` belongs to."""
        return {} if self._stage is None else {"stage": self._stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._stage = state_dict["stage"]

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Let Lightning write into the run's folder at once."""
        trainer.strategy.checkpoint_io = _InPlace()

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Take note of the stage that the run goes on with, and of a missing best."""
        assert isinstance(pl_module, MACEModule)
        self._written_at = time.monotonic()
        if self._stage is None:
            self._stage = pl_module.stages.current
        best = pl_module.stages.best
        exists = _folder(trainer).best.is_file()
        if best.epoch is not None and not trainer.strategy.broadcast(exists):
            logger.warning(
                "best.ckpt, of epoch %d, is not in %s: the best epoch from here on is kept",
                best.epoch,
                _folder(trainer).path,
            )
            best.loss, best.epoch, best.num_since = math.inf, None, 0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write what is due after this step; all ranks agree on it, and take part.

        Clocks differ, so that of rank zero counts: what it wishes, all ranks read as agreed
        after one of the next steps, and on a GPU perhaps once more after the step after.
        """
        assert isinstance(pl_module, MACEModule)
        wishes = pl_module.wishes
        step, since = trainer.global_step, trainer.global_step - self._written_step
        is_due = self.every_steps is not None and step % self.every_steps == 0
        if since and (is_due or wishes.agreed_stop or (wishes.agreed_save and since > 1)):
            self._write_last(trainer)
        if trainer.is_global_zero and self.every_minutes is not None:
            seconds = time.monotonic() - self._written_at
            wishes.save = wishes.save or seconds >= 60 * self.every_minutes

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write before a run is ended in its validation, which will then be repeated."""
        assert isinstance(pl_module, MACEModule)
        if pl_module.wishes.agreed_stop and trainer.global_step != self._written_step:
            pl_module.on_validation_end()  # brings the trained weights back
            self._write_last(trainer)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write what the epoch asks for; all ranks take part."""
        assert isinstance(pl_module, MACEModule)
        folder = _folder(trainer)
        if pl_module.stages.current != self._stage:
            self._stage = pl_module.stages.current
            if trainer.is_global_zero and folder.best.exists():
                folder.best.replace(folder.best_stage_one)
        done = trainer.current_epoch + 1
        is_end = trainer.should_stop or done == trainer.max_epochs
        if pl_module.is_best:
            self._write_best(trainer)
        if done % self.every_epochs == 0 or is_end:
            self._write_last(trainer, same_as_best=pl_module.is_best)

    def _write_best(self, trainer: lightning.Trainer) -> None:
        began = time.monotonic()
        save_checkpoint(trainer, _folder(trainer).best)
        self._note_time(trainer, began)

    def _write_last(
        self, trainer: lightning.Trainer, *, same_as_best: bool = False
    ) -> None:
        began = time.monotonic()
        folder = _folder(trainer)
        partial = partial_name(folder.last)
        if not same_as_best:
            trainer.save_checkpoint(partial, weights_only=False)
        elif trainer.is_global_zero:
            shutil.copyfile(folder.best, partial)
        if trainer.is_global_zero:
            folder.add(partial, keep=self.keep)
        trainer.strategy.barrier("CheckpointWriter")
        self._note_time(trainer, began)

    def _note_time(self, trainer: lightning.Trainer, began: float) -> None:
        self._written_step = trainer.global_step
        self._written_at = time.monotonic()
        self.seconds_of_last_write = self._written_at - began


def save_checkpoint(trainer: lightning.Trainer, path: Path) -> None:
    """Write the state of a run; an older file stays until the new one is complete.

    All ranks have to call this; rank zero writes.
    """
    partial = partial_name(path)
    trainer.save_checkpoint(partial, weights_only=False)
    if trainer.is_global_zero:
        finish_file(partial, path)
    trainer.strategy.barrier("save_checkpoint")


class _InPlace(TorchCheckpointIO):
    """Writes where it is told to, and not to a folder for temporary files before."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; nothing is left of it if the disk is full."""
        file_path = Path(path)
        file_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with file_path.open("wb") as file:
                torch.save(checkpoint, file)
        except OSError as error:
            file_path.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(file_path)) from error


def _folder(trainer: lightning.Trainer) -> CheckpointFolder:
    return CheckpointFolder(Path(trainer.default_root_dir) / "checkpoints")
