"""What a model says about a set of frames, beside what the labels say.

Floor 3. Evaluation fills these arrays, from a model or from any ASE calculator; error
tables and parity plots are computed from them, and `write_predictions` hands them out as
extended XYZ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.io.extxyz import write_xyz
from jaxtyping import Bool, Float, Int

from mace_train.training.metrics import Quantity

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mace_train.data.frame import Frame
    from mace_train.data.store import FrameStore


@dataclass(frozen=True)
class FramePrediction:
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of one frame.

    Attributes:
        energy: With the atoms' own energies.
        forces: One row an atom.
        stress: Positive in tension; None where the frame has no volume, or the calculator
            no stress.
    """

    energy: float
    forces: Float[np.ndarray, "nodes 3"]
    stress: Float[np.ndarray, "3 3"] | None


@dataclass(frozen=True)
class Predictions:
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
            _require_finite(index, frame, prediction)
            row = (
                np.array([index]),
                np.asarray(frame.atomic_numbers, np.int64),
                np.array([prediction.energy], np.float64),
                np.asarray(prediction.forces, np.float64),
                _or_nan(prediction.stress, (3, 3))[None],
                _or_nan(frame.energy if frame.energy_weight else None, (1,)),
                _or_nan(
                    frame.forces if frame.forces_weight else None, (len(frame.positions), 3)
                ),
                _or_nan(frame.stress if frame.stress_weight else None, (3, 3))[None],
            )
            for column, value in zip(columns, row):
                column.append(value)
        if not columns[0]:
            raise ValueError("there is no frame to evaluate")
        sizes = [len(numbers) for numbers in columns[1]]
        index, numbers, *values = (np.concatenate(column) for column in columns)
        return cls(index, np.concatenate([[0], np.cumsum(sizes)]), numbers, *values)

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


def write_predictions(path: Path, predictions: Predictions, store: FrameStore) -> None:
    """Write frames with reference and predicted values as extended XYZ, in the set's order.

    Keys: ``reference_energy``, ``reference_forces``, ``reference_stress`` where a frame has
        the
    label, and ``predicted_energy``, ``predicted_forces``, ``predicted_stress``; eV and Å.
    Each frame also carries its ``source`` file, its ``source_index`` in it, and its groups.

    Args:
        path: File to write; an older one is replaced when the new one is complete.
        predictions: Of frames in ``store``.
        store: Where the structures are read from again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        for place, index in enumerate(predictions.frame_index):
            atoms = _annotated_atoms(store.frame(int(index)), predictions, place)
            write_xyz(file, atoms, write_results=False)
    partial.replace(path)


def _annotated_atoms(frame: Frame, predictions: Predictions, place: int) -> Atoms:
    atoms = Atoms(
        numbers=frame.atomic_numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=frame.pbc,
    )
    rows = predictions.atoms_of(place)
    atoms.info.update(frame.groups)
    if frame.config_type is not None:
        atoms.info["config_type"] = frame.config_type
    atoms.info |= {"source": frame.source, "source_index": frame.index}
    for name, source in (("reference_", "reference_"), ("predicted_", "")):
        energy = getattr(predictions, f"{source}energy")[place]
        forces = getattr(predictions, f"{source}forces")[rows]
        stress = getattr(predictions, f"{source}stress")[place]
        if np.isfinite(energy):
            atoms.info[f"{name}energy"] = float(energy)
        if np.isfinite(stress).all():
            atoms.info[f"{name}stress"] = stress.ravel()
        if np.isfinite(forces).all():
            atoms.arrays[f"{name}forces"] = forces
    return atoms


def _or_nan(value: object, shape: tuple[int, ...]) -> np.ndarray:
    if value is None:
        return np.full(shape, np.nan)
    return np.asarray(value, np.float64).reshape(shape)


def _require_finite(index: int, frame: Frame, prediction: FramePrediction) -> None:
    parts = {"energy": prediction.energy, "forces": prediction.forces}
    if prediction.stress is not None:
        parts["stress"] = prediction.stress
    wrong = [name for name, value in parts.items() if not np.isfinite(value).all()]
    if wrong:
        raise ValueError(
            f"the predicted {' and '.join(wrong)} of {frame.source}, frame {frame.index} "
            f"({frame.formula}, number {index} of the set) is not finite: the model has "
            "diverged, or the structure is far from anything it has seen; leave the frame "
            "out, or train with a smaller optim.lr"
        )
