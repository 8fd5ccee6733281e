"""`StopRequests`: ask all ranks to save and end, for a signal or the time limit.

Floor 4. The request travels with the next step (`wishes.py`); `MACEModule` then raises
`RunStoppedError` on all ranks, after the checkpoint was written.
"""
# ruff: noqa: ARG002 - Lightning gives its hooks more than each of them needs

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from mace_train.training.callbacks import CheckpointWriter, EpochCallback
from mace_train.training.module import MACEModule

if TYPE_CHECKING:
    import lightning

    from mace_train.training.interruption import Interruptions
    from mace_train.training.run_time import RunTime

TIME_LIMIT = 75
"""Exit code of a run that ended before its time limit: start it again (EX_TEMPFAIL)."""


class StopRequests(EpochCallback):
    """Watches signals and the clock between the steps.

    Args:
        interruptions: Takes note of signals while the run trains.
        run_time: Knows when the run has to end.
    """

    def __init__(self, interruptions: Interruptions, run_time: RunTime) -> None:
        self.interruptions = interruptions
        self.run_time = run_time
        self._validation_began = 0.0

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Take the place of Lightning's handlers, which it has just installed.

        When training ends, Lightning puts back those of before its own.
        """
        self.interruptions.install()

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ask before a step; the last of an epoch is followed by a validation."""
        is_last = batch_idx + 1 == trainer.num_training_batches
        self._ask(
            pl_module, is_due=self.run_time.is_due("validation" if is_last else "step")
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell the clock how long steps and checkpoints take."""
        assert isinstance(pl_module, MACEModule)
        self.run_time.took("step", pl_module.slowest_step)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, CheckpointWriter):
                self.run_time.took("checkpoint", callback.seconds_of_last_write)

    def on_validation_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Take the time."""
        self._validation_began = time.monotonic()

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Ask before a batch of the validation."""
        self._ask(pl_module, is_due=self.run_time.is_due("step"))

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Tell the clock how long a validation takes."""
        self.run_time.took("validation", time.monotonic() - self._validation_began)

    def _ask(self, module: lightning.LightningModule, *, is_due: bool) -> None:
        assert isinstance(module, MACEModule)
        if module.wishes.stop is not None:
            return
        if self.interruptions.asked is not None:
            module.wishes.stop = str(self.interruptions.asked)
            module.wishes.exit_code = self.interruptions.asked.exit_code
        elif is_due:
            module.wishes.stop = self.run_time.reason
            module.wishes.exit_code = TIME_LIMIT
