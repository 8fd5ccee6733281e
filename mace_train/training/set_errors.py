"""`SetErrors`: what the errors of a set add up to, chunk by chunk.

Floor 4. One pass over the predictions, in the order in which they come; only three numbers
a frame stay in memory.
"""

from __future__ import annotations

import numpy as np
import torch

from mace_train.training.metrics import QUANTITIES, ErrorSums
from mace_train.training.predictions import Predictions


class Sums:
    """Sums of absolute and squared values.

    >>> sums = Sums()
    >>> sums.add(np.array([3.0, -4.0]))
    >>> sums.count, sums.absolute, sums.square
    (2, 7.0, 25.0)
    """

    def __init__(self) -> None:
        self.count = 0
        self.absolute = 0.0
        self.square = 0.0

    def add(self, values: np.ndarray) -> None:
        """Add all of these values."""
        self.count += values.size
        self.absolute += float(np.abs(values).sum())
        self.square += float(np.square(values).sum())


class SetErrors:
    """Errors of a set of frames, summed in float64.

    Attributes:
        whole: Of all frames.
        by_config_type: Of the frames of each ``config_type``.
        by_element: Errors and reference forces of the atoms of each atomic number.
        zero_forces: Of the reference forces themselves.
    """

    def __init__(self) -> None:
        self.whole = ErrorSums()
        self.by_config_type: dict[str, ErrorSums] = {}
        self.by_element: dict[int, tuple[Sums, Sums]] = {}
        self.zero_forces = Sums()
        self._by_frame: list[tuple[np.ndarray, ...]] = []

    def add(self, chunk: Predictions, config_types: list[str | None]) -> None:
        """Add the errors of some frames, of which there is one at least.

        Args:
            chunk: Their predictions.
            config_types: The ``config_type`` of each.
        """
        _add(self.whole, chunk)
        for name in sorted({name for name in config_types if name}):
            chosen = np.array([one == name for one in config_types])
            _add(self.by_config_type.setdefault(name, ErrorSums()), chunk.select(chosen))
        self._add_atoms(chunk)
        self._by_frame.append((chunk.frame_index, *_errors_by_frame(chunk)))

    def _add_atoms(self, chunk: Predictions) -> None:
        known = chunk.has_forces
        numbers = chunk.atomic_numbers[known]
        reference = chunk.reference_forces[known]
        errors = chunk.forces[known] - reference
        self.zero_forces.add(reference)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            of_errors, of_reference = self.by_element.setdefault(number, (Sums(), Sums()))
            of_errors.add(errors[here])
            of_reference.add(reference[here])

    @property
    def by_frame(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Place in the store, energy error per atom, force MAE and largest force error.

        Errors are NaN where a frame has no such label.
        """
        if not self._by_frame:
            none = np.zeros(0)
            return none, none, none, none
        index, energy, mae, largest = map(np.concatenate, zip(*self._by_frame))
        return index, energy, mae, largest


def _add(sums: ErrorSums, chunk: Predictions) -> None:
    """Add the errors of all frames that have the label."""
    sums.add_size(len(chunk.energy), len(chunk.atomic_numbers))
    for quantity in QUANTITIES:
        reference, predicted = chunk.pairs(quantity)
        sums.add_errors(quantity, torch.from_numpy(predicted - reference))


def _errors_by_frame(chunk: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy error per atom, force MAE and largest force error by frame; NaN: no label."""
    energy = (chunk.energy - chunk.reference_energy) / chunk.num_atoms
    by_atom = np.abs(chunk.forces - chunk.reference_forces)
    starts = chunk.first_atom[:-1]
    mae = np.add.reduceat(by_atom.mean(axis=1), starts) / chunk.num_atoms
    return energy, mae, np.maximum.reduceat(by_atom.max(axis=1), starts)
