"""`Position`: where in its epochs a run stands, and how Lightning's loops are told.

Floor 4. What counts as done are steps of the optimizer, not batches that workers have
fetched ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightning

    from mace_train.data.sampler import BatchSampler


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: The epoch it is in, from 0; that many are complete.
        batches_done: Global batches of that epoch that the optimizer has used.
        num_batches: Global batches of an epoch; 0: not known yet.
        epoch_sums: What these batches add up to over all ranks; None at a beginning.
        sampler: State of the sampler that dealt them; None at the beginning of a run.
    """

    epoch: int = 0
    batches_done: int = 0
    num_batches: int = 0
    epoch_sums: dict[str, Any] | None = None
    sampler: dict[str, Any] | None = None

    @property
    def is_mid_epoch(self) -> bool:
        """Whether a part of the epoch is done, or all of it but its validation."""
        return self.batches_done > 0

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint."""
        return {
            "epoch": self.epoch,
            "batches_done": self.batches_done,
            "num_batches": self.num_batches,
            "epoch_sums": self.epoch_sums,
        }

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> Position:
        """The position that a checkpoint's ``mace_train`` entry tells."""
        state = entry.get("position")
        if state is None:  # of a version that wrote checkpoints at the end of epochs only
            return cls(epoch=entry["num_epochs"])
        return cls(**state, sampler=entry["sampler"])


def write_progress(loops: dict[str, Any], position: Position) -> None:
    """Tell Lightning's loops in a checkpoint where the run stands.

    A checkpoint is written inside hooks, when Lightning has not counted the present batch,
    epoch or validation as completed; left so, a resumed run would skip or repeat one.

    Args:
        loops: ``checkpoint["loops"]``; changed in place.
        position: Where the run stands.
    """
    fit = loops["fit_loop"]
    if not position.is_mid_epoch:
        for counts in fit["epoch_progress"].values():
            counts["completed"] = counts["processed"]
        return
    batches = fit["epoch_loop.batch_progress"]
    for counts in (batches["total"], batches["current"]):
        counts["completed"] = counts["started"] = counts["processed"] = counts["ready"]
    is_last = position.batches_done == position.num_batches
    batches["is_last_batch"] = is_last
    validation = fit["epoch_loop.val_loop.batch_progress"]
    for name, counts in (
        ("total", validation["total"]),
        ("current", validation["current"]),
    ):
        # One batch begun and not ended: the validation is to be done, from its beginning.
        begun = int(is_last and name == "total")
        counts.update(ready=begun, started=begun, processed=0, completed=0)


def go_on(sampler: BatchSampler, trainer: lightning.Trainer) -> None:
    """Put a sampler where the run stands, in the middle of an epoch too.

    Args:
        sampler: Of the training frames, before it is iterated.
        trainer: Its module's ``position`` tells.

    Raises:
        ValueError: If the epoch was begun with other frames or other batches.
    """
    sampler.set_epoch(trainer.current_epoch)
    position = getattr(trainer.lightning_module, "position", Position())
    if position.is_mid_epoch:
        assert position.sampler is not None, "it was saved with the position"
        sampler.load_state_dict(position.sampler)
