"""Exponential moving average of the weights, which is what is validated and saved.

Floor 4. The average is torch-ema's, as in mace-torch; here it gains names, so that a
checkpoint says which average belongs to which parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch_ema import ExponentialMovingAverage

from mace_train.constraints import Fraction
from mace_train.transfer.low_rank import has_updates, plain_state

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    StateDict = dict[str, Tensor]


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


def state_to_use(model: nn.Module, averaged: AveragedWeights | None) -> StateDict | None:
    """The weights that a plain model of a checkpoint has, if they are not the trained ones.

    Args:
        model: In training, perhaps with low-rank updates, which are merged then.
        averaged: The average of its weights, if there is one.
    """
    if averaged is not None:
        return averaged.model_state()
    return plain_state(model.state_dict()) if has_updates(model) else None


class AveragedWeights:
    """The running average of a model's trainable weights.

    Args:
        model: On the device where it is trained; its parameters are followed from now on.
        decay: Share of the old average kept at every step.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._model = model
        trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self._names = [name for name, _ in trainable]
        self._parameters = [parameter for _, parameter in trainable]
        self._average = ExponentialMovingAverage(self._parameters, decay=decay)

    def update(self, share_taken: Tensor | float = 1.0) -> None:
        """Take in the present weights; called after every step of the optimizer.

        Args:
            share_taken: 1; or 0, perhaps on the device alone, if the step was left out.
        """
        average = self._average
        average.num_updates = (average.num_updates or 0) + 1
        decay = min(average.decay, (1 + average.num_updates) / (10 + average.num_updates))
        averages = average.shadow_params
        weights = [parameter.detach() for parameter in self._parameters]
        share = (1 - decay) * share_taken
        if isinstance(share, torch.Tensor):
            torch._foreach_lerp_(averages, weights, [share.to(w.dtype) for w in weights])
        else:
            torch._foreach_lerp_(averages, weights, share)

    def swapped_in(self) -> AbstractContextManager[None]:
        """While this context lasts, the model has the averaged weights."""
        return self._average.average_parameters()

    def model_state(self) -> dict[str, Tensor]:
        """The model's state dict with averaged weights in place of the trained ones.

        Of a model with low-rank updates it is that of the merged model.
        """
        return plain_state({**self._model.state_dict(), **self._by_name()})

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

    def _by_name(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._average.shadow_params))
