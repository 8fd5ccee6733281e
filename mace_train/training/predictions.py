"""What a model says about frames, beside what the labels say.

Floor 4. Evaluation fills these arrays, from a model or from any ASE calculator; error
tables and parity plots are computed from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from mace_train.training.metrics import Quantity

if TYPE_CHECKING:
    from mace_train.data.frame import Frame


@dataclass(frozen=True)
class FramePrediction:
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of one frame.

    Attributes:
        energy: With the atoms' own energies.
        forces: One row an atom.
        stress: Positive in tension; None where the frame has no volume, or the calculator
            no stress.
        node_energies: Each atom's share of the energy; None where it was not asked for.
        energy_std: Standard deviation over the models of a committee; None for one model.
        forces_std: The same for each force component.
        stress_std: The same for each stress component.
    """

    energy: float
    forces: Float[np.ndarray, "nodes 3"]
    stress: Float[np.ndarray, "3 3"] | None
    node_energies: Float[np.ndarray, " nodes"] | None = None
    energy_std: float | None = None
    forces_std: Float[np.ndarray, "nodes 3"] | None = None
    stress_std: Float[np.ndarray, "3 3"] | None = None

    @property
    def wrong(self) -> list[str]:
        """Names of what is not finite."""
        parts = {"energy": self.energy, "forces": self.forces}
        if self.stress is not None:
            parts["stress"] = self.stress
        return [name for name, value in parts.items() if not np.isfinite(value).all()]


@dataclass(frozen=True)
class FrameFailure:
    """A frame that could not be predicted.

    Attributes:
        reason: A message that names the frame.
    """

    reason: str


Outcome = FramePrediction | FrameFailure
"""What becomes of a frame."""


class PredictionChunks(ABC):
    """Predictions that are gone through chunk by chunk, more than once if need be."""

    @property
    @abstractmethod
    def chunks(self) -> Iterable[Predictions]:
        """All predictions, in order."""

    @property
    @abstractmethod
    def thinning(self) -> int:
        """Every how manieth value `pairs` gives."""

    @abstractmethod
    def pairs(self, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
        """Reference and predicted values where both exist."""


@dataclass(frozen=True)
class Predictions(PredictionChunks):
    """Predicted and reference values of many frames, in float64, in the set's order.

    NaN stands for "no such label" in the references and "not predicted" in the stress.

    Attributes:
        frame_index: Place of each frame in its store.
        first_atom: Frame ``i`` owns the atoms ``first_atom[i]:first_atom[i + 1]``.
        atomic_numbers: 1..118.
        energy: eV.
        forces: eV/Å.
        stress: eV/Å^3.
        reference_energy: eV.
        reference_forces: eV/Å.
        reference_stress: eV/Å^3.
    """

    frame_index: Int[np.ndarray, " graphs"]
    first_atom: Int[np.ndarray, " graphs_and_end"]
    atomic_numbers: Int[np.ndarray, " nodes"]
    energy: Float[np.ndarray, " graphs"]
    forces: Float[np.ndarray, "nodes 3"]
    stress: Float[np.ndarray, "graphs 3 3"]
    reference_energy: Float[np.ndarray, " graphs"]
    reference_forces: Float[np.ndarray, "nodes 3"]
    reference_stress: Float[np.ndarray, "graphs 3 3"]

    @classmethod
    def collect(cls, frames: Iterable[tuple[int, Frame, FramePrediction]]) -> Predictions:
        """Gather predictions, given as (place in the store, frame, prediction).

        Raises:
            ValueError: If a prediction is not finite (the message names the frame), or
                there is no frame at all.
        """
        columns: list[list[np.ndarray]] = [[] for _ in range(8)]
        for index, frame, prediction in frames:
            if prediction.wrong:
                raise ValueError(not_finite(index, frame, prediction))
            references = reference_values(frame)
            row = (
                np.array([index]),
                np.asarray(frame.atomic_numbers, np.int64),
                np.array([prediction.energy], np.float64),
                np.asarray(prediction.forces, np.float64),
                _or_nan(prediction.stress, (3, 3))[None],
                _or_nan(references["energy"], (1,)),
                _or_nan(references["forces"], (len(frame.positions), 3)),
                _or_nan(references["stress"], (3, 3))[None],
            )
            for column, value in zip(columns, row):
                column.append(value)
        if not columns[0]:
            raise ValueError("there is no frame to evaluate")
        sizes = [len(numbers) for numbers in columns[1]]
        index, numbers, *values = (np.concatenate(column) for column in columns)
        return cls(index, np.concatenate([[0], np.cumsum(sizes)]), numbers, *values)

    @property
    def chunks(self) -> tuple[Predictions, ...]:
        """All of them at once; predictions on disk come in several chunks."""
        return (self,)

    @property
    def thinning(self) -> int:
        """Every how manieth value `pairs` gives: all of them."""
        return 1

    @property
    def num_atoms(self) -> Int[np.ndarray, " graphs"]:
        """Atoms of each frame."""
        return np.diff(self.first_atom)

    @property
    def frame_of_atom(self) -> Int[np.ndarray, " nodes"]:
        """The frame (its place among these predictions) that owns each atom."""
        return np.repeat(np.arange(len(self.energy)), self.num_atoms)

    @property
    def has_forces(self) -> Bool[np.ndarray, " nodes"]:
        """Atoms with reference forces."""
        return np.asarray(np.isfinite(self.reference_forces).all(axis=1))

    @property
    def has_stress(self) -> Bool[np.ndarray, " graphs"]:
        """Frames with both a reference stress and a predicted one."""
        return np.asarray(np.isfinite(self.reference_stress + self.stress).all(axis=(1, 2)))

    def pairs(self, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
        """Reference and predicted values where both exist, a row for each frame or atom.

        Energies are per atom (eV/atom); stresses keep their nine components.
        """
        if quantity == "energy_per_atom":
            known = np.isfinite(self.reference_energy)
            atoms = self.num_atoms[known]
            return self.reference_energy[known] / atoms, self.energy[known] / atoms
        if quantity == "forces":
            known = self.has_forces
            return self.reference_forces[known], self.forces[known]
        known = self.has_stress
        return self.reference_stress[known], self.stress[known]

    def atoms_of(self, frame: int) -> slice:
        """Rows of one frame in the arrays over atoms."""
        return slice(int(self.first_atom[frame]), int(self.first_atom[frame + 1]))

    def select(self, chosen: Bool[np.ndarray, " graphs"]) -> Predictions:
        """The predictions of some of the frames."""
        atoms = np.repeat(chosen, self.num_atoms)
        return Predictions(
            frame_index=self.frame_index[chosen],
            first_atom=np.concatenate([[0], np.cumsum(self.num_atoms[chosen])]),
            atomic_numbers=self.atomic_numbers[atoms],
            energy=self.energy[chosen],
            forces=self.forces[atoms],
            stress=self.stress[chosen],
            reference_energy=self.reference_energy[chosen],
            reference_forces=self.reference_forces[atoms],
            reference_stress=self.reference_stress[chosen],
        )


def reference_values(frame: Frame) -> dict[str, float | np.ndarray | None]:
    """The labels of a frame; None for one that is absent or has weight 0."""
    return {
        "energy": frame.energy if frame.energy_weight else None,
        "forces": frame.forces if frame.forces_weight else None,
        "stress": frame.stress if frame.stress_weight else None,
    }


def not_finite(index: int, frame: Frame, prediction: FramePrediction) -> str:
    """What is said of a prediction with NaN or infinite values."""
    return (
        f"the predicted {' and '.join(prediction.wrong)} of {frame.source}, frame "
        f"{frame.index} ({frame.formula}, number {index} of the set) is not finite: the "
        "model has diverged, or the structure is far from anything it has seen; leave the "
        "frame out, or train with a smaller optim.lr"
    )


def _or_nan(value: object, shape: tuple[int, ...]) -> np.ndarray:
    if value is None:
        return np.full(shape, np.nan)
    return np.asarray(value, np.float64).reshape(shape)
