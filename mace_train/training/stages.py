"""When a run changes its loss and when it ends: second stage, early stopping, best epoch.

Floor 4, plain numbers only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mace_train.constraints import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

if TYPE_CHECKING:
    from mace_train.training.loss import Loss


@dataclass(frozen=True)
class StageTwo:
    """A second stage with its own loss weights and a constant learning rate.

    Users of MACE know it as "SWA". It begins at ``start_epoch``, or as soon as early
    stopping would end the first stage.

    Args:
        start_epoch: First epoch of the stage, counted from 0; None: there is no second
            stage.
        lr: Learning rate throughout the stage.
        energy_weight: Weight of the energies per atom in the loss.
        forces_weight: Weight of the force components.
        stress_weight: Weight of the stress components.
    """

    start_epoch: NonNegativeInt | None = None
    lr: PositiveFloat = 0.001
    energy_weight: NonNegativeFloat = 1000.0
    forces_weight: NonNegativeFloat = 100.0
    stress_weight: NonNegativeFloat = 10.0

    def loss(self, first: Loss) -> Loss:
        """The loss of this stage: the kind of the first, with weights of its own."""
        return replace(
            first,
            energy_weight=self.energy_weight,
            forces_weight=self.forces_weight,
            stress_weight=self.stress_weight,
        )


@dataclass(frozen=True)
class EarlyStopping:
    """When to give up waiting for a better validation loss.

    Args:
        patience: Validations without a better loss before the stage ends; None: never.
    """

    patience: PositiveInt | None = None

    def is_due(self, best: BestEpoch) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and best.num_since >= self.patience


@dataclass
class BestEpoch:
    """The epoch with the lowest validation loss of the stage so far.

    Attributes:
        loss: Its loss; before the first that of the start, or infinite.
        epoch: Which epoch it was; None: none so far.
        num_since: Validations since then.
    """

    loss: float = math.inf
    epoch: int | None = None
    num_since: int = 0

    def update(self, loss: float, *, epoch: int) -> bool:
        """Take note of an epoch's loss.

        Returns:
            Whether it is the best so far. A NaN or infinite loss never is.
        """
        if math.isfinite(loss) and loss < self.loss:
            self.loss, self.epoch, self.num_since = loss, epoch, 0
            return True
        self.num_since += 1
        return False


class Stages:
    """Where a run stands: its stage, and the best epoch of that stage.

    Args:
        stage_two: Setting of the second stage.
        early_stopping: Setting of early stopping, which ends either stage.
    """

    def __init__(self, stage_two: StageTwo, early_stopping: EarlyStopping) -> None:
        self.stage_two = stage_two
        self.early_stopping = early_stopping
        self.current = 1
        self.best = BestEpoch()
        self._start_losses = (math.inf, math.inf)

    def must_beat(self, first: float, second: float) -> None:
        """Take no epoch for the best that is worse than what training starts from.

        Args:
            first: Validation loss before the first step, as the first stage weighs it.
            second: The same as the second stage does.
        """
        self._start_losses = (first, second)
        self.best = BestEpoch(loss=first)

    @property
    def none_beat_start(self) -> bool:
        """Whether there is a start to beat, and no epoch of the stage has done so."""
        return self.best.epoch is None and math.isfinite(self.best.loss)

    def stage_two_is_due(self, epoch: int) -> bool:
        """Whether the second stage begins with this epoch."""
        start = self.stage_two.start_epoch
        if self.current == 2 or start is None:
            return False
        return epoch >= start or self.early_stopping.is_due(self.best)

    def begin_stage_two(self) -> None:
        """Forget the losses of the first stage: they weighed the properties otherwise."""
        self.current, self.best = 2, BestEpoch(loss=self._start_losses[1])

    @property
    def is_finished(self) -> bool:
        """Whether patience has run out and no stage is left."""
        is_last = self.current == 2 or self.stage_two.start_epoch is None
        return is_last and self.early_stopping.is_due(self.best)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "current": self.current,
            "best": asdict(self.best),
            "start_losses": list(self._start_losses),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.current, self.best = state["current"], BestEpoch(**state["best"])
        first, second = state.get("start_losses", (math.inf, math.inf))
        self._start_losses = (first, second)
