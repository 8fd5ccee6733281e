"""What predictions amount to: errors of sets, elements and single frames.

Floor 4. Everything is computed from `Predictions`, in one place, so that all potentials are
scored by the same code.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols

from mace_train.data.mixed_store import MixedStore
from mace_train.data.store import FrameStore
from mace_train.training.predictions import PredictionChunks
from mace_train.training.set_errors import SetErrors

Results = dict[str, float | int | None]
"""The eight numbers of results.json, in eV/atom, eV/Å, eV/Å^3; None: no labels."""

NUM_WORST_FRAMES = 20


@dataclass(frozen=True)
class ElementErrors:
    """Force errors on the atoms of one element, eV/Å, per component.

    Attributes:
        element: Chemical symbol.
        num_atoms: Atoms with reference forces.
        forces_mae: Mean absolute error.
        forces_rmse: Root of the mean square error.
        zero_forces_mae: The error of predicting no force at all.
    """

    element: str
    num_atoms: int
    forces_mae: float
    forces_rmse: float
    zero_forces_mae: float


@dataclass(frozen=True)
class FrameErrors:
    """Errors of one frame; None where the label is missing.

    Attributes:
        frame: Place in the set.
        source: File it came from.
        source_index: Place in that file.
        formula: Chemical formula.
        num_atoms: Number of atoms.
        energy_per_atom_error: Predicted minus reference, eV/atom.
        forces_mae: Per component, eV/Å.
        forces_max: Largest error of a component, eV/Å.
        times_mean: How many times the set's mean error this frame has, in energy per atom
            or in forces, whichever is larger.
    """

    frame: int
    source: str
    source_index: int
    formula: str
    num_atoms: int
    energy_per_atom_error: float | None
    forces_mae: float | None
    forces_max: float | None
    times_mean: float


@dataclass(frozen=True)
class Evaluation:
    """Predictions for a set of frames and the errors they amount to.

    Attributes:
        predictions: Predicted and reference values.
        store: Where the frames are kept.
    """

    predictions: PredictionChunks
    store: FrameStore

    @cached_property
    def results(self) -> Results:
        """The eight numbers of results.json, in eV/atom, eV/Å, eV/Å^3; None: no labels."""
        return self._sums.whole.results()

    @cached_property
    def zero_forces(self) -> tuple[float, float] | None:
        """MAE and RMSE in eV/Å of predicting no force, which any model must beat."""
        sums = self._sums.zero_forces
        if not sums.count:
            return None
        return sums.absolute / sums.count, (sums.square / sums.count) ** 0.5

    @cached_property
    def per_element_forces(self) -> list[ElementErrors]:
        """Force errors by element, in order of atomic number."""
        return [
            ElementErrors(
                element=chemical_symbols[number],
                num_atoms=errors.count // 3,
                forces_mae=errors.absolute / errors.count,
                forces_rmse=(errors.square / errors.count) ** 0.5,
                zero_forces_mae=zero.absolute / zero.count,
            )
            for number, (errors, zero) in sorted(self._sums.by_element.items())
        ]

    @cached_property
    def per_config_type(self) -> dict[str, Results]:
        """The eight numbers for each ``config_type``; empty where frames have none."""
        by_type = self._sums.by_config_type
        return {name: by_type[name].results() for name in sorted(by_type)}

    @cached_property
    def by_head(self) -> dict[str, Evaluation]:
        """The frames of each head that has any; nothing where there are not several."""
        store = self.store
        if not isinstance(store, MixedStore) or len(store.heads) == 1:
            return {}
        (predictions,) = self.predictions.chunks  # those of training are held in memory
        places = store.head_of(predictions.frame_index)
        return {
            head: Evaluation(predictions.select(places == place), store)
            for place, head in enumerate(store.heads)
            if (places == place).any()
        }

    @cached_property
    def worst_frames(self) -> list[FrameErrors]:
        """The twenty frames with the largest errors in units of the set's mean errors."""
        frames, energy, forces_mae, forces_max = self._sums.by_frame
        times_mean = np.fmax(_over_mean(np.abs(energy)), _over_mean(forces_mae))
        order = np.argsort(-np.nan_to_num(times_mean), kind="stable")[:NUM_WORST_FRAMES]
        rows = []
        for place in order[np.isfinite(times_mean[order])]:
            index = int(frames[place])
            frame = self.store.frame(index)
            rows.append(
                FrameErrors(
                    frame=index,
                    source=frame.source,
                    source_index=frame.index,
                    formula=frame.formula,
                    num_atoms=len(frame.atomic_numbers),
                    energy_per_atom_error=_none_if_nan(float(energy[place])),
                    forces_mae=_none_if_nan(float(forces_mae[place])),
                    forces_max=_none_if_nan(float(forces_max[place])),
                    times_mean=float(times_mean[place]),
                )
            )
        return rows

    @cached_property
    def _sums(self) -> SetErrors:
        types = self.store.config_types
        sums = SetErrors()
        for chunk in self.predictions.chunks:
            sums.add(chunk, [types[index] for index in chunk.frame_index])
        return sums

    def details(self) -> dict[str, object]:
        """What results.json has no room for, as plain values for a JSON file."""
        zero = self.zero_forces
        return {
            "zero_forces": None if zero is None else {"mae": zero[0], "rmse": zero[1]},
            "per_element_forces": [asdict(row) for row in self.per_element_forces],
            "per_config_type": self.per_config_type,
            "worst_frames": [asdict(row) for row in self.worst_frames],
        }


def _over_mean(errors: np.ndarray) -> np.ndarray:
    """Errors in units of their mean; NaN stays NaN, and a perfect set stays 0."""
    known = errors[np.isfinite(errors)]
    mean = known.mean() if known.size else 0.0
    return errors / mean if mean > 0 else np.where(np.isnan(errors), np.nan, 0.0)


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value
