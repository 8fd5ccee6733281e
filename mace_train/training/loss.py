"""What training makes small: weighed errors of energy per atom, forces and stress.

Floor 4. A loss gives sums and counts, not means, so that the loss of a global batch is the
same however the batch is cut into ranks, and a validation loss the same for any batch size:

    loss = sum over properties of  weight * sum over labels present of w * penalty / their
    number

where w is the weight of the property in the frame (its own weight times that of its set),
and a weight of 0 is the same as an absent label. With all labels present and weights of 1,
these are the formulas of mace-torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mace_train.constraints import NonNegativeFloat, PositiveFloat
from mace_train.graph import AtomicGraph
from mace_train.model.derivatives import Prediction

PROPERTIES = ("energy", "forces", "stress")
"""The order of properties in `Loss.terms`."""

FORCE_BOUNDS = (100.0, 200.0, 300.0)
"""Sizes of force (eV/Å) at which the conditional Huber loss narrows its quadratic zone."""

FORCE_FACTORS = (1.0, 0.7, 0.4, 0.1)
"""Factors of ``huber_delta`` between and beyond the `FORCE_BOUNDS`."""


@dataclass(frozen=True)
class Loss(ABC):
    """Weights of the properties, and the penalty of an error, which the subclasses give.

    Args:
        energy_weight: Weight of the energies per atom; 0: the property is left out.
        forces_weight: Weight of the force components.
        stress_weight: Weight of the nine stress components.
    """

    energy_weight: NonNegativeFloat = 1.0
    forces_weight: NonNegativeFloat = 1.0
    stress_weight: NonNegativeFloat = 1.0

    @property
    def weights(self) -> dict[str, float]:
        """Weights by property."""
        return {name: getattr(self, f"{name}_weight") for name in PROPERTIES}

    @abstractmethod
    def penalty(
        self, error: Float[Tensor, "rows ..."], weight: Float[Tensor, "rows ..."]
    ) -> Float[Tensor, "rows ..."]:
        """Penalty of each error.

        Args:
            error: Predicted minus reference; eV/atom, eV/Å or eV/Å^3.
            weight: Weight of the property in the frame.
        """

    def forces_penalty(
        self,
        error: Float[Tensor, "nodes 3"],
        weight: Float[Tensor, "nodes 1"],
        *,
        reference: Float[Tensor, "nodes 3"],  # noqa: ARG002 - for losses that look at it
    ) -> Float[Tensor, "nodes 3"]:
        """Penalty of each force component, which may depend on the reference force."""
        return self.penalty(error, weight)

    def terms(
        self, prediction: Prediction, graph: AtomicGraph
    ) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
        """Sums of weighed penalties and numbers of labels, for each of `PROPERTIES`.

        Sums and numbers of parts of a batch add up to those of the batch; see `total_loss`.

        Args:
            prediction: What the model says of ``graph``, with every property of weight
                above 0.
            graph: The batch, with its labels; it may hold no structure at all.

        Returns:
            Sums in the model's floating-point type, and numbers in float64.
        """
        labels = graph.labels
        assert labels is not None, "a loss needs labels"
        nothing = prediction.interaction_energy.new_zeros(())
        sums = [nothing] * 3
        if self.energy_weight:
            num_atoms = count_atoms(graph).clamp(min=1)
            # Energies are in float64 beside a float32 model: total energies of 1e6 eV
            # differ by far less than float32 tells.
            error = ((prediction.energy - labels.energy) / num_atoms).to(nothing.dtype)
            penalty = self.penalty(error, labels.energy_weight)
            present = labels.energy_weight > 0
            sums[0] = _sum_present(penalty, labels.frame_weight[:, 0], present=present)
        if self.forces_weight:
            assert prediction.forces is not None, "forces were not computed"
            atom_weight = labels.frame_weight[:, 1][graph.graph_index]
            weight = labels.forces_weight[graph.graph_index]
            penalty = self.forces_penalty(
                prediction.forces - labels.forces, weight[:, None], reference=labels.forces
            )
            present = weight > 0
            sums[1] = _sum_present(penalty, atom_weight, present=present)
        if self.stress_weight:
            assert prediction.stress is not None, "stress was not computed"
            error = prediction.stress - labels.stress
            penalty = self.penalty(error, labels.stress_weight[:, None, None])
            present = labels.stress_weight > 0
            sums[2] = _sum_present(penalty, labels.frame_weight[:, 2], present=present)
        weighed = [weight * value for weight, value in zip(self.weights.values(), sums)]
        return torch.stack(weighed), self.counts(graph)

    def counts(self, graph: AtomicGraph) -> Float[Tensor, " 3"]:
        """Number of labels of each of `PROPERTIES`, 0 for one without weight in the loss.

        Args:
            graph: A batch with its labels.
        """
        labels = graph.labels
        assert labels is not None, "a loss needs labels"
        numbers = (
            (labels.energy_weight > 0).sum(),
            3 * (labels.forces_weight > 0)[graph.graph_index].sum(),
            9 * (labels.stress_weight > 0).sum(),
        )
        weights = self.weights.values()
        return torch.stack([n * (w != 0) for n, w in zip(numbers, weights)]).double()

    def __call__(self, prediction: Prediction, graph: AtomicGraph) -> Float[Tensor, ""]:
        """The loss of one batch."""
        return total_loss(*self.terms(prediction, graph))


@dataclass(frozen=True)
class SquaredLoss(Loss):
    """Mean squared errors; a frame's property weights multiply the squares."""

    def penalty(
        self, error: Float[Tensor, "rows ..."], weight: Float[Tensor, "rows ..."]
    ) -> Float[Tensor, "rows ..."]:
        """Weight times the square of the error."""
        return weight * error.square()


@dataclass(frozen=True)
class HuberLoss(Loss):
    """Huber of the errors: quadratic up to ``huber_delta``, linear beyond.

    Args:
        huber_delta: Where the zones meet, in the unit of the error.
    """

    huber_delta: PositiveFloat = 0.01

    def penalty(
        self, error: Float[Tensor, "rows ..."], weight: Float[Tensor, "rows ..."]
    ) -> Float[Tensor, "rows ..."]:
        """Weight times the Huber function of the error."""
        return weight * _huber(error, torch.full_like(error, self.huber_delta))


@dataclass(frozen=True)
class UniversalLoss(Loss):
    """The loss of MACE-MP-0 (arXiv:2401.00096): Huber, and of large forces nearly absolute.

    A frame's property weights multiply the argument of the Huber function, so that they act
    as squares in its quadratic zone; the weights of the frame as a whole and of its set
    multiply the value, as in every loss here.

    Args:
        huber_delta: Where the zones meet; for components of forces beyond 100, 200 and 300
            eV/Å it is 0.7, 0.4 and 0.1 times that.
    """

    huber_delta: PositiveFloat = 0.01

    def penalty(
        self, error: Float[Tensor, "rows ..."], weight: Float[Tensor, "rows ..."]
    ) -> Float[Tensor, "rows ..."]:
        """Huber function of weight times error."""
        return _huber(weight * error, torch.full_like(error, self.huber_delta))

    def forces_penalty(
        self,
        error: Float[Tensor, "nodes 3"],
        weight: Float[Tensor, "nodes 1"],
        *,
        reference: Float[Tensor, "nodes 3"],
    ) -> Float[Tensor, "nodes 3"]:
        """Huber function of weight times error, narrower where the force is large."""
        size = torch.linalg.vector_norm(weight * reference, dim=-1)
        delta = torch.full_like(size, self.huber_delta * FORCE_FACTORS[0])
        for bound, factor in zip(FORCE_BOUNDS, FORCE_FACTORS[1:]):
            delta = torch.where(size >= bound, self.huber_delta * factor, delta)
        return _huber(weight * error, delta[:, None].expand_as(error))


def count_atoms(graph: AtomicGraph) -> Int[Tensor, " graphs"]:
    """Number of atoms of each structure (`torch.bincount` would wait for a GPU)."""
    counts = graph.graph_index.new_zeros(graph.num_graphs)
    return counts.index_add(0, graph.graph_index, torch.ones_like(graph.graph_index))


def total_loss(sums: Float[Tensor, " 3"], counts: Float[Tensor, " 3"]) -> Float[Tensor, ""]:
    """The loss that follows from the summed `Loss.terms` of all parts of a batch."""
    return (sums / counts.clamp(min=1).to(sums.dtype)).sum()


def _huber(error: Tensor, delta: Tensor) -> Tensor:
    size = error.abs()
    return torch.where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta))


def _sum_present(
    penalty: Float[Tensor, "rows ..."],
    weight: Float[Tensor, " rows"],
    *,
    present: Bool[Tensor, " rows"],
) -> Float[Tensor, ""]:
    """Weighed sum over the rows that have a label."""
    components = math.prod(penalty.shape[1:])
    rows = penalty.reshape(len(penalty), components)
    return torch.where(present[:, None], weight[:, None] * rows, 0.0).sum()
