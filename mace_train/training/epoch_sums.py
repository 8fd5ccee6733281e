"""`EpochSums`: what the steps of an epoch add up to, on this rank and then on all.

Floor 4. Sums stay on the device, in float64, until the epoch ends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from mace_train.training.host_copy import HostCopy
from mace_train.training.loss import total_loss
from mace_train.training.metrics import ErrorSums
from mace_train.training.ranks import is_first, sum_over_ranks
from mace_train.training.step_clock import StepClock

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from mace_train.graph import AtomicGraph
    from mace_train.model.derivatives import Prediction
    from mace_train.training.history import Row


class EpochSums:
    """Sums of the loss and of errors, and the time since the epoch began.

    Args:
        device: Where the model computes.
        state: Go on from what `state_dict` gave, in mid-epoch.
    """

    def __init__(
        self, device: torch.device | str = "cpu", *, state: dict[str, Any] | None = None
    ) -> None:
        self._began = time.perf_counter()
        self._device = device
        self.clock = StepClock(device)
        self._train_terms = torch.zeros(2, 3, dtype=torch.float64, device=device)
        self._shown_terms = HostCopy()
        self._valid_terms = torch.zeros_like(self._train_terms)
        self._valid_errors: ErrorSums | None = None
        self._num_frames = 0
        if state is not None:
            self._began -= state["seconds"]
            self.clock.add(state["timing"])
            if is_first():  # which carries the sums of all ranks from here on
                self._train_terms += state["train_terms"].to(device)
                self._num_frames = state["num_frames"]

    def state_dict(self) -> dict[str, Any]:
        """The training of the epoch so far; all ranks take part."""
        train_terms, num_frames = self._train_totals()
        return {
            "train_terms": train_terms.cpu(),
            "num_frames": num_frames,
            "seconds": time.perf_counter() - self._began,
            "timing": list(self.clock.seconds()),
        }

    def add_step(
        self, sums: Float[Tensor, " 3"], counts: Float[Tensor, " 3"], *, num_frames: int
    ) -> None:
        """Add the `Loss.terms` of a training step."""
        self._train_terms += torch.stack([sums.detach().double(), counts])
        self._shown_terms.send(self._train_terms)
        self._num_frames += num_frames

    def begin_validation(self) -> None:
        """Sum up a validation from here on."""
        self._valid_terms = torch.zeros_like(self._valid_terms)
        self._valid_errors = ErrorSums()

    def add_validation(
        self,
        sums: Float[Tensor, " 3"],
        counts: Float[Tensor, " 3"],
        *,
        prediction: Prediction,
        graph: AtomicGraph,
    ) -> None:
        """Add a batch of the validation: its `Loss.terms` and its errors."""
        assert self._valid_errors is not None, "begin_validation comes first"
        self._valid_terms += torch.stack([sums.detach().double(), counts])
        self._valid_errors.add(prediction, graph)

    def running_loss(self) -> float:
        """Loss of this rank's frames so far."""
        return total_loss(*torch.from_numpy(self._shown_terms.read())).item()

    def results(self) -> Row:
        """Losses, errors and speed over all ranks, under their names in metrics.csv."""
        train_terms, num_frames = self._train_totals()
        valid_loss, errors = None, ErrorSums().results()
        if self._valid_errors is not None:
            valid_loss = total_loss(*sum_over_ranks(self._valid_terms)).item()
            self._valid_errors.all_reduce(self._device)
            errors = self._valid_errors.results()
        timing = torch.tensor(self.clock.seconds(), dtype=torch.float64)
        timing = sum_over_ranks(timing.to(self._device)).tolist()
        names = ("timing/data", "timing/compute", "timing/communication")
        return {
            "train/loss": total_loss(*train_terms).item(),
            "valid/loss": valid_loss,
            **{f"valid/{k}": v for k, v in errors.items() if not k.startswith("num_")},
            "seconds": time.perf_counter() - self._began,
            "frames_per_second": num_frames / max(sum(self.clock.seconds()), 1e-9),
            **{k: v / max(sum(timing), 1e-9) for k, v in zip(names, timing)},
        }

    def _train_totals(self) -> tuple[Float[Tensor, "2 3"], int]:
        """Terms and number of frames over all ranks."""
        frames = self._train_terms.new_tensor([float(self._num_frames)])
        sums = sum_over_ranks(torch.cat([self._train_terms.flatten(), frames]))
        return sums[:6].reshape(2, 3), int(sums[6].item())
