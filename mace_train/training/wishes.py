"""`Wishes`: what any rank may ask for, and all ranks then do after the same step.

Floor 4. A signal reaches one rank only, and clocks differ; so a wish travels with the
numbers that the ranks add up in every step anyway. On a GPU the host reads the sum one step
later, so that it never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mace_train.training.host_copy import HostCopy
from mace_train.training.ranks import gather_over_ranks

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

NUM_WISHES = 2

TERMINATED = 143
"""Exit code after SIGTERM."""


class RunStoppedError(Exception):
    """A run ends before its time, on every rank after the same step.

    Args:
        reason: Why.
        exit_code: What the process ends with.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Wishes:
    """Wishes of this rank, and what all ranks agreed on.

    Args:
        is_late: Read the sum of a step in the next one, so that the host never waits for a
            GPU.

    Attributes:
        save: Set it to have a checkpoint written after one of the next steps.
        stop: Set it to a reason to have the run saved and ended.
        exit_code: What the process then ends with.
        agreed_save: Whether a rank wished to save; equal on all ranks.
        agreed_stop: Whether a rank wished to stop; equal on all ranks.
    """

    def __init__(self, *, is_late: bool = False) -> None:
        self.is_late = is_late
        self.save = False
        self.stop: str | None = None
        self.exit_code = TERMINATED
        self.agreed_save = self.agreed_stop = False
        self._answer: HostCopy | None = None

    def numbers(self, device: torch.device | str) -> Float[Tensor, " wishes"]:
        """What this rank adds to the sum over ranks."""
        numbers = torch.zeros(NUM_WISHES, dtype=torch.float64, device=device)
        if self.save:
            numbers[0] = 1.0
        if self.stop is not None:
            numbers[1] = 1.0
        self.save = False
        return numbers

    def hear(self, sums: Float[Tensor, " wishes"]) -> None:
        """Take note of the sum of `numbers` over all ranks."""
        if not self.is_late:
            self._agree(sums.tolist())
            return
        before, self._answer = self._answer, HostCopy()
        self._answer.send(sums)
        if before is not None:
            self._agree([float(number) for number in before.read()])

    def raise_if_stopped(self) -> None:
        """End the run if that was agreed on.

        Raises:
            RunStoppedError: On every rank alike, with the reason of the first that gave
                one.
        """
        if self.agreed_stop:
            requests = gather_over_ranks((self.stop, self.exit_code))
            raise RunStoppedError(*next(request for request in requests if request[0]))

    def _agree(self, sums: list[float]) -> None:
        save, stop = (wishes > 0 for wishes in sums)
        self.agreed_save, self.agreed_stop = save or stop, stop
