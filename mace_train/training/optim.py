"""The optimizer with MACE's weight-decay groups, and schedules of the learning rate.

Floor 4. A schedule is a rule for the learning rate of an epoch. `MACEModule` asks it before
every step and keeps its state in the checkpoint, so that warm-up, schedule and second stage
need to know nothing of each other.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mace_train.constraints import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from mace_train.transfer.low_rank import plain_name

logger = logging.getLogger(__name__)

PLATEAU_THRESHOLD = 1e-4
"""A loss is better when it is lower by this fraction; torch and mace-torch have it too."""


@dataclass(frozen=True)
class Optimizer:
    """Adam or AdamW as MACE uses it: only some weights decay.

    Args:
        algorithm: ``adam`` adds the decay to the gradient, ``adamw`` takes it off the
            weights.
        lr: Learning rate before any schedule.
        weight_decay: Decay of the weights that decay; see `decays`.
        amsgrad: Divide by the largest second moment so far.
        betas: Decay rates of the first and second moments of the gradient.
        clip_norm: Largest norm of the whole gradient; None: no clipping.
        warmup_steps: Steps over which the learning rate rises linearly to its value.
    """

    algorithm: Literal["adam", "adamw"] = "adam"
    lr: PositiveFloat = 0.01
    weight_decay: NonNegativeFloat = 5e-7
    amsgrad: bool = True
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    clip_norm: PositiveFloat | None = 10.0
    warmup_steps: NonNegativeInt = 0

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a model's trainable parameters, in two groups.

        Raises:
            ValueError: If no parameter is trainable.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError("the model has no trainable parameter: everything is frozen")
        groups = [
            {"name": "decay", "params": [p for name, p in named if decays(name)]},
            {"name": "no_decay", "params": [p for name, p in named if not decays(name)]},
        ]
        groups[0]["weight_decay"] = self.weight_decay
        groups[1]["weight_decay"] = 0.0
        algorithm = torch.optim.Adam if self.algorithm == "adam" else torch.optim.AdamW
        beta1, beta2 = self.betas
        return algorithm(
            [group for group in groups if group["params"]],
            lr=self.lr,
            betas=(beta1, beta2),
            amsgrad=self.amsgrad,
            fused=True,  # four times as fast on a CPU, and can leave out a step on a GPU
        )

    def warmup_factor(self, step: int) -> float:
        """What the learning rate is multiplied with at a step, counted from 0."""
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0

    def clip(self, model: nn.Module) -> Float[Tensor, ""]:
        """Shorten the gradient to ``clip_norm`` at most.

        Returns:
            The norm before; it is not finite if any component is not.
        """
        limit = math.inf if self.clip_norm is None else self.clip_norm
        return nn.utils.clip_grad_norm_(model.parameters(), limit)


def use_fused_steps(states: Iterable[dict[str, Any]]) -> None:
    """Make saved states of optimizers, perhaps of an older version, those of fused ones."""
    for state in states:
        for group in state["param_groups"]:
            group["fused"], group["foreach"] = True, None


def decays(name: str) -> bool:
    """Whether mace-torch lets the parameter of this name decay.

    These are the weights of the product basis, and in the interactions the linear map after
    the messages; embeddings, radial functions, skip connections and readouts keep their
    size. A low-rank update decays where its weight does.

    >>> decays("products.0.symmetric_contractions.contractions.0.weights_max")
    True
    >>> decays("interactions.1.linear.weight"), decays("interactions.1.linear_up.weight")
    (True, False)
    """
    name = plain_name(name)
    if name.startswith("interactions."):
        return "linear.weight" in name or "skip_tp_full.weight" in name
    return name.startswith("products.")


class Schedule(ABC):
    """How the learning rate changes from epoch to epoch."""

    @abstractmethod
    def learning_rate(self, lr: float, *, epoch: int) -> float:
        """The learning rate of an epoch, from 0 on, where ``lr`` is the optimizer's."""

    def observe(self, loss: float) -> None:  # noqa: B027 - most schedules do not mind
        """Take note of the validation loss after an epoch."""

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint has to keep."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what `state_dict` gave."""
        assert not state, f"{type(self).__name__} has no state"


class ConstantSchedule(Schedule):
    """The same learning rate throughout.

    >>> ConstantSchedule().learning_rate(0.01, epoch=7)
    0.01
    """

    def learning_rate(self, lr: float, *, epoch: int) -> float:  # noqa: ARG002
        """The optimizer's learning rate."""
        return lr


class CosineSchedule(Schedule):
    """Half a cosine from the learning rate to a fraction of it.

    A run that goes on keeps the length it began with, so that training for longer bends
    neither the epochs done nor those to come.

    Args:
        num_epochs: Epoch at which the fraction is reached, and kept from then on.
        final_fraction: That fraction.

    >>> schedule = CosineSchedule(num_epochs=10, final_fraction=0.1)
    >>> [round(schedule.learning_rate(1.0, epoch=epoch), 3) for epoch in (0, 5, 10, 11)]
    [1.0, 0.55, 0.1, 0.1]
    """

    def __init__(self, *, num_epochs: PositiveInt, final_fraction: Fraction = 0.01) -> None:
        self.num_epochs = num_epochs
        self.final_fraction = final_fraction

    def learning_rate(self, lr: float, *, epoch: int) -> float:
        """The cosine at the beginning of the epoch."""
        phase = math.pi * min(epoch / self.num_epochs, 1.0)
        return lr * (
            self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(phase)) / 2
        )

    def state_dict(self) -> dict[str, float]:
        """The length."""
        return {"num_epochs": float(self.num_epochs)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take the length of the checkpoint; those of older versions hold none."""
        began_with = int(state.get("num_epochs", self.num_epochs))
        if began_with != self.num_epochs:
            logger.info(
                "the schedule keeps its length of %d epochs, with which the run began "
                "(schedule.num_epochs=%d now)",
                began_with,
                self.num_epochs,
            )
        self.num_epochs = began_with


class PlateauSchedule(Schedule):
    """Lower the learning rate when the validation loss stalls, as MACE-MP-0 did.

    Args:
        factor: What the learning rate is multiplied with.
        patience: Epochs without a better loss that are waited for; the next one lowers the
            rate.
        min_lr: The learning rate is never lowered below this.
    """

    def __init__(
        self,
        *,
        factor: Fraction = 0.8,
        patience: NonNegativeInt = 5,
        min_lr: NonNegativeFloat = 0.0,
    ) -> None:
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr
        self._scale = 1.0
        self._best = math.inf
        self._num_stalled = 0

    def learning_rate(self, lr: float, *, epoch: int) -> float:  # noqa: ARG002
        """The learning rate as lowered so far."""
        return max(lr * self._scale, min(self.min_lr, lr))

    def observe(self, loss: float) -> None:
        """Count the epochs without a better loss; a NaN is never better."""
        if loss < self._best * (1 - PLATEAU_THRESHOLD):
            self._best, self._num_stalled = loss, 0
        else:
            self._num_stalled += 1
        if self._num_stalled > self.patience:
            self._scale, self._num_stalled = self._scale * self.factor, 0

    def state_dict(self) -> dict[str, float]:
        """What was lowered so far, and how long the loss has stalled."""
        return {
            "scale": self._scale,
            "best": self._best,
            "num_stalled": float(self._num_stalled),
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from what `state_dict` gave."""
        self._scale, self._best = state["scale"], state["best"]
        self._num_stalled = int(state["num_stalled"])
