"""`StoredPredictions`: predictions on disk, beside the frames they belong to.

Floor 4. Parts are read one by one, so that memory does not grow with the number of atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mace_train.training.metrics import QUANTITIES, Quantity
from mace_train.training.predictions import (
    FrameFailure,
    FramePrediction,
    PredictionChunks,
    Predictions,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Int

    from mace_train.data.frame import Frame
    from mace_train.data.store import FrameStore
    from mace_train.training.prediction_parts import PartFolder

PredictedFrame = tuple["Frame", FramePrediction]
"""A frame with what was predicted for it."""

MOST_PAIRS = 2_000_000
"""Values of a quantity that are drawn: a picture of more looks the same."""


@dataclass(frozen=True)
class StoredPredictions(PredictionChunks):
    """The finished parts of an evaluation.

    Attributes:
        folder: Of the parts.
        parts: Places in ``indices`` of each part's frames.
        store: The frames.
        indices: Places in the store.
    """

    folder: PartFolder
    parts: Sequence[range]
    store: FrameStore
    indices: Int[np.ndarray, " frames"]

    @property
    def failures(self) -> Iterator[str]:
        """What is said of each frame that could not be predicted."""
        for number in range(len(self.parts)):
            for outcome in self.folder.read(number):
                if isinstance(outcome, FrameFailure):
                    yield outcome.reason

    @property
    def frames(self) -> Iterator[list[PredictedFrame]]:
        """All frames that were predicted, isolated atoms too, a list for each part."""
        for number in range(len(self.parts)):
            yield [(frame, prediction) for _, frame, prediction in self._part(number)]

    @property
    def chunks(self) -> Iterator[Predictions]:
        """Frames that are scored, that is without isolated atoms, for each part."""
        for number in range(len(self.parts)):
            scored = [row for row in self._part(number) if not row[1].is_isolated_atom]
            if scored:
                yield Predictions.collect(scored)

    def _part(self, number: int) -> Iterator[tuple[int, Frame, FramePrediction]]:
        places = self.indices[self.parts[number].start : self.parts[number].stop]
        for index, outcome in zip(places.tolist(), self.folder.read(number)):
            if isinstance(outcome, FramePrediction):
                yield index, self.store.frame(index), outcome

    @property
    def thinning(self) -> int:
        """Every how manieth value `pairs` gives."""
        return max(1, -(-3 * int(self.store.num_atoms[self.indices].sum()) // MOST_PAIRS))

    def pairs(self, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
        """Reference and predicted values where both exist, thinned out if there are many.

        See `Predictions.pairs`.
        """
        return self._pairs[quantity]

    @cached_property
    def _pairs(self) -> dict[Quantity, tuple[np.ndarray, np.ndarray]]:
        found: dict[Quantity, list[tuple[np.ndarray, np.ndarray]]] = {
            quantity: [(np.zeros(0), np.zeros(0))] for quantity in QUANTITIES
        }
        for chunk in self.chunks:
            for quantity, pairs in found.items():
                reference, predicted = (values.ravel() for values in chunk.pairs(quantity))
                every = self.thinning
                pairs.append((reference[::every], predicted[::every]))
        return {
            quantity: tuple(np.concatenate(values) for values in zip(*pairs))
            for quantity, pairs in found.items()
        }  # type: ignore[return-value] - two arrays each
