"""Exponential moving average of the weights, which is what is validated and saved.

Floor 3. The average is torch-ema's, as in mace-torch; here it gains names, so that a
checkpoint says which average belongs to which parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch_ema import ExponentialMovingAverage

from mace_train.constraints import Fraction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor, nn


@dataclass(frozen=True)
class WeightAverage:
    """Setting of the average: `follow` begins one for a model.

    Args:
        decay: Share of the old average kept at every step. The first steps keep less,
            ``min(decay, (1 + n) / (10 + n))``, so that the initial weights are soon
            forgotten.
            None: no averaging.
    """

    decay: Fraction | None = 0.99

    def follow(self, model: nn.Module) -> AveragedWeights | None:
        """Begin to average a model's trainable weights; None where there is no decay."""
        return None if self.decay is None else AveragedWeights(model, decay=self.decay)


class AveragedWeights:
    """The running average of a model's trainable weights.

    Args:
        model: On the device where it is trained; its parameters are followed from now on.
        decay: Share of the old average kept at every step.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._model = model
        self._names = [name for name, _ in self._trainable()]
        self._average = ExponentialMovingAverage(
            [parameter for _, parameter in self._trainable()], decay=decay
        )

    def update(self) -> None:
        """Take in the present weights; called after every step of the optimizer."""
        self._average.update()

    def swapped_in(self) -> AbstractContextManager[None]:
        """While this context lasts, the model has the averaged weights."""
        return self._average.average_parameters()

    def model_state(self) -> dict[str, Tensor]:
        """The model's state dict with averaged weights in place of the trained ones."""
        return {**self._model.state_dict(), **self._by_name()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: averages by parameter name, and the number of updates."""
        return {"averages": self._by_name(), "num_updates": self._average.num_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ValueError: If the averages belong to other parameters.
        """
        saved = state["averages"]
        if set(saved) != set(self._names):
            odd = ", ".join(sorted(set(saved) ^ set(self._names))[:5])
            raise ValueError(
                "the checkpoint's averaged weights are of other parameters than the "
                f"model's trainable ones (they differ in {odd})"
            )
        for name, average in zip(self._names, self._average.shadow_params):
            average.copy_(saved[name])
        self._average.num_updates = state["num_updates"]

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        named = self._model.named_parameters()
        return ((name, parameter) for name, parameter in named if parameter.requires_grad)

    def _by_name(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._average.shadow_params))
