"""Stop a run at the first NaN or infinite number, before it reaches the weights.

Floor 4. One NaN in a gradient makes every weight a NaN, and a run that goes on from there
ends without a model. The message names the frames, since a wrong label is the usual cause.

On a CPU the run ends before the optimizer's step. On a GPU the host does not wait for the
gradient: the optimizer itself leaves out this step and all that follow, and the run ends
one step later, with the same weights and the same message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mace_train.training.host_copy import HostCopy
from mace_train.training.ranks import gather_over_ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool
    from torch import Tensor, nn

    from mace_train.micro_batches import MicroBatches

MOST_NAMES = 16
"""Frames that a message names."""


class NonFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite."""


@dataclass(frozen=True)
class GuardedStep:
    """A step that may turn out bad.

    Attributes:
        batch: This rank's part of the global batch.
        where: Epoch and step.
    """

    batch: MicroBatches
    where: str


class StepGuard:
    """Looks at every step before the optimizer takes it.

    Args:
        model: The model in training.
        frame_name: How to call the frame of an index.
        is_late: Look at the verdict of a step in the next one, so that the host never waits
            for a GPU; the optimizer, which must be a fused one, leaves out bad steps.
    """

    def __init__(
        self, model: nn.Module, *, frame_name: Callable[[int], str], is_late: bool
    ) -> None:
        self.is_late = is_late
        self._model = model
        self._frame_name = frame_name
        self._any_bad: Tensor | None = None
        self._verdict = HostCopy()
        self._pending: GuardedStep | None = None

    def watch(
        self,
        is_bad: Bool[Tensor, ""],
        step: GuardedStep,
        *,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Let the optimizer take a step, unless it is bad or follows a bad one.

        Args:
            is_bad: Whether the loss or the gradient is not finite, on every rank alike.
            step: What to tell of it.
            optimizer: Takes the step next.

        Raises:
            NonFiniteError: On every rank alike; it names the frames of the bad step.
        """
        if not self.is_late:
            if bool(is_bad):
                self._fail(step)
            return
        self.settle()
        self._any_bad = is_bad if self._any_bad is None else self._any_bad | is_bad
        # Fused optimizers leave weights and moments alone where this is 1.
        vars(optimizer)["found_inf"] = self._any_bad.float()
        self._verdict.send(is_bad)
        self._pending = step

    def settle(self) -> None:
        """Look at the step before; called at the end of an epoch too.

        Raises:
            NonFiniteError: If it was bad; on every rank alike.
        """
        step, self._pending = self._pending, None
        if step is not None and self._verdict.read():
            self._fail(step)

    @property
    def share_taken(self) -> Tensor | float:
        """1 if the last step was taken, 0 if it was left out."""
        return 1.0 if self._any_bad is None else 1.0 - self._any_bad.float()

    def _fail(self, step: GuardedStep) -> None:
        raise_non_finite(
            step.batch, self._model, where=step.where, frame_name=self._frame_name
        )


def raise_non_finite(
    batch: MicroBatches,
    model: nn.Module,
    *,
    where: str,
    frame_name: Callable[[int], str],
) -> None:
    """Raise the error of a batch whose loss or gradient is not finite, on every rank alike.

    Frames whose prediction is not finite are named; if there are none, all frames of the
    batch.

    Args:
        batch: This rank's part of the global batch.
        model: As it was before the step.
        where: Epoch and step.
        frame_name: How to call the frame of an index.

    Raises:
        NonFiniteError: Always.
    """
    named, is_culprit = _name_frames(batch, model, frame_name=frame_name)
    parts = gather_over_ranks((named, is_culprit))
    culprits = [name for names, found in parts if found for name in names]
    names = culprits or [name for names, _ in parts for name in names]
    what = "prediction not finite for" if culprits else "frames of the batch:"
    shown = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    raise NonFiniteError(
        f"loss or gradient is NaN or infinite at {where}; {what} {shown}{more}. "
        "The step was not taken, and the last checkpoint, if there is one, holds the "
        "weights of an earlier step. Look at the labels of these frames; if they are "
        "sound, lower optim.lr or optim.clip_norm."
    )


def _name_frames(
    batch: MicroBatches, model: nn.Module, *, frame_name: Callable[[int], str]
) -> tuple[list[str], bool]:
    """Names of the frames with a prediction that is not finite, else of all frames."""
    bad, every = [], []
    for graph in batch:
        labels = graph.labels
        assert labels is not None
        with torch.no_grad():
            prediction = model(graph, compute_forces=True, compute_stress=False)
        is_bad = ~torch.isfinite(prediction.energy)
        bad_atoms = ~torch.isfinite(prediction.forces).all(dim=1)
        is_bad[graph.graph_index[bad_atoms]] = True
        bad += labels.frame_index[is_bad].tolist()
        every += labels.frame_index.tolist()
    return [frame_name(index) for index in bad or every], bool(bad)
