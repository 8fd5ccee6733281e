"""Errors over a set of frames, exact for any batch size and any number of ranks.

Floor 4. Batches add to sums in float64, sums of ranks are added, and only then come means
and roots: a mean of batch means would depend on how the set was cut.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mace_train.graph import AtomicGraph
from mace_train.model.derivatives import Prediction
from mace_train.training.loss import count_atoms
from mace_train.training.ranks import sum_over_ranks

Quantity = Literal["energy_per_atom", "forces", "stress"]

QUANTITIES: tuple[Quantity, ...] = ("energy_per_atom", "forces", "stress")
"""What errors are told of: eV/atom, eV/Å per component, eV/Å^3 per component (nine)."""

RESULT_KEYS: tuple[str, ...] = (
    *(
        f"{quantity}_{statistic}"
        for quantity in QUANTITIES
        for statistic in ("mae", "rmse")
    ),
    "num_frames",
    "num_atoms",
)
"""The names of `ErrorSums.results`, in order."""


class ErrorSums:
    """Sums of absolute and squared errors, from which MAE and RMSE follow at any time.

    Only labels that are present count. Nothing here waits for a GPU before `results` is
    called.

    >>> sums = ErrorSums()
    >>> sums.add_errors("forces", torch.tensor([[3.0, 0.0, 0.0]]))
    >>> sums.results()["forces_mae"], sums.results()["energy_per_atom_mae"]
    (1.0, None)
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(len(QUANTITIES), 3, dtype=torch.float64)
        self._sizes = torch.zeros(2, dtype=torch.float64)  # frames and atoms

    def add(self, prediction: Prediction, graph: AtomicGraph) -> None:
        """Add the errors of a batch; a property that was not predicted is passed over.

        Args:
            prediction: What the model says of ``graph``.
            graph: The batch, with its labels.
        """
        labels = graph.labels
        assert labels is not None, "errors need labels"
        self.add_size(graph.num_graphs, graph.num_nodes)
        energy_error = prediction.energy.detach().double() - labels.energy
        energy_error = energy_error / count_atoms(graph)
        self.add_errors("energy_per_atom", energy_error, present=labels.energy_weight > 0)
        if prediction.forces is not None:
            error = prediction.forces.detach().double() - labels.forces
            has_forces = (labels.forces_weight > 0)[graph.graph_index]
            self.add_errors("forces", error, present=has_forces)
        if prediction.stress is not None:
            error = prediction.stress.detach().double() - labels.stress
            self.add_errors("stress", error, present=labels.stress_weight > 0)

    def add_errors(
        self,
        quantity: Quantity,
        errors: Float[Tensor, "rows ..."],
        *,
        present: Bool[Tensor, " rows"] | None = None,
    ) -> None:
        """Add errors of one quantity.

        Args:
            quantity: Which one.
            errors: Predicted minus reference, a row for each frame or atom.
            present: Rows that have a label; None: all.
        """
        num_components = math.prod(errors.shape[1:])
        errors = errors.double().reshape(len(errors), num_components)
        if present is None:
            present = torch.ones(len(errors), dtype=torch.bool, device=errors.device)
        known = torch.where(present[:, None], errors, 0.0)
        count = present.sum() * num_components
        self._sums = self._sums.to(errors.device)
        row = torch.stack([known.abs().sum(), known.square().sum(), count.double()])
        self._sums[QUANTITIES.index(quantity)] += row

    def add_size(self, num_frames: int, num_atoms: int) -> None:
        """Count frames and atoms of the set, with or without labels."""
        self._sizes += torch.tensor([num_frames, num_atoms], dtype=torch.float64)

    def merge(self, other: ErrorSums) -> None:
        """Add the sums of another part of the set."""
        self._sums = self._sums + other._sums.to(self._sums.device)
        self._sizes = self._sizes + other._sizes

    def all_reduce(self, device: torch.device | str = "cpu") -> None:
        """Add up the sums of all ranks, so that every rank holds those of the whole set.

        Args:
            device: Where the ranks communicate: the rank's GPU under NCCL.
        """
        totals = torch.cat([self._sums.cpu().flatten(), self._sizes]).to(device)
        totals = sum_over_ranks(totals).cpu()
        self._sums = totals[: self._sums.numel()].reshape(self._sums.shape)
        self._sizes = totals[self._sums.numel() :]

    def results(self) -> dict[str, float | int | None]:
        """The eight numbers of results.json: MAE and RMSE of every quantity, and sizes.

        Returns:
            Values by `RESULT_KEYS`, in eV/atom, eV/Å and eV/Å^3; None where there are no
            labels.
        """
        results: dict[str, float | int | None] = dict.fromkeys(RESULT_KEYS)
        for quantity, (absolute, square, count) in zip(QUANTITIES, self._sums.tolist()):
            if count:
                results[f"{quantity}_mae"] = absolute / count
                results[f"{quantity}_rmse"] = (square / count) ** 0.5
        results["num_frames"], results["num_atoms"] = map(int, self._sizes.tolist())
        return results
