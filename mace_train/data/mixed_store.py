"""`MixedStore`: several sets as one list of frames, each set with its role in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mace_train.data.store import FrameStore


@dataclass(frozen=True)
class SetRole:
    """What the frames of a set are to a model: which head learns them, and how much.

    Attributes:
        head: Place of the head in the model's list.
        energy_weight: Multiplies the penalty of each energy in the loss; 0: the label
            counts as absent.
        forces_weight: The same for the forces.
        stress_weight: The same for the stress.
    """

    head: int = 0
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 1.0

    @property
    def weights(self) -> tuple[float, float, float]:
        """The factors of energy, forces and stress."""
        return self.energy_weight, self.forces_weight, self.stress_weight


ONLY_SET = SetRole()
"""The role of all frames where there is one set."""


class MixedStore(FrameStore):
    """Frames of several stores, one after another, with the role of each.

    Args:
        parts: A store for each set.
        names: A name for each set.
        roles: A role for each set.
        heads: Names of the model's heads.
    """

    def __init__(
        self,
        parts: Sequence[FrameStore],
        *,
        names: Sequence[str],
        roles: Sequence[SetRole],
        heads: Sequence[str],
    ) -> None:
        super().__init__([shard for part in parts for shard in part.shards])
        self.parts = tuple(parts)
        self.names, self.roles, self.heads = tuple(names), tuple(roles), tuple(heads)
        self._set_ends = np.cumsum([len(part) for part in parts])

    @property
    def set_sizes(self) -> list[int]:
        """Frames of each set."""
        return [len(part) for part in self.parts]

    def set_of(self, places: Int[np.ndarray, " frames"]) -> Int[np.ndarray, " frames"]:
        """Number of the set that each frame belongs to."""
        return np.searchsorted(self._set_ends, places, side="right")

    def head_of(self, places: Int[np.ndarray, " frames"]) -> Int[np.ndarray, " frames"]:
        """Place of the head of each frame."""
        return np.array([role.head for role in self.roles])[self.set_of(places)]

    def of_head(
        self, head: int, places: Int[np.ndarray, " frames"]
    ) -> tuple[FrameStore, Int[np.ndarray, " chosen"]]:
        """The sets of a head as a store of their own, and the frames of it among some.

        Args:
            head: Place of the head.
            places: Frames here, ascending; those of other heads are left out.
        """
        numbers = [n for n, role in enumerate(self.roles) if role.head == head]
        first = self._set_ends - self.set_sizes
        member = self.set_of(places)
        parts = [self.parts[number] for number in numbers]
        starts = np.cumsum([0, *(len(part) for part in parts)])
        chosen = np.concatenate(
            [
                places[member == number] - first[number] + start
                for number, start in zip(numbers, starts)
            ]
        )
        if len(parts) == 1:
            return parts[0], chosen
        names = [self.names[number] for number in numbers]
        roles = [self.roles[number] for number in numbers]
        store = MixedStore(parts, names=names, roles=roles, heads=self.heads)
        return store, chosen

    def role(self, place: int) -> SetRole:
        """What one frame is to the model."""
        return self.roles[int(np.searchsorted(self._set_ends, place, side="right"))]

    def edge_counts(self, r_max: float) -> Int[np.ndarray, " frames"]:
        """Directed edges of each frame within a cutoff in Å."""
        return np.concatenate([part.edge_counts(r_max) for part in self.parts])

    @property
    def sources(self) -> tuple[list[str], Int[np.ndarray, " frames"]]:
        """Names of the files, and for each frame the place of its file there.

        A name that occurs in several sets is preceded by that of the set.
        """
        by_set = [part.sources for part in self.parts]
        counts = Counter(name for names, _ in by_set for name in names)
        names: list[str] = []
        numbers: list[np.ndarray] = []
        for set_name, (own, number) in zip(self.names, by_set):
            numbers.append(number + len(names))
            names += [f"{set_name}: {n}" if counts[n] > 1 else n for n in own]
        return names, np.concatenate(numbers)


def role_of(store: FrameStore, place: int) -> SetRole:
    """What a frame is to the model."""
    return store.role(place) if isinstance(store, MixedStore) else ONLY_SET


def count_by_set(store: FrameStore, places: Int[np.ndarray, " frames"]) -> list[int]:
    """How many of some frames belong to each set of a store."""
    if not isinstance(store, MixedStore):
        return [len(places)]
    return np.bincount(store.set_of(places), minlength=len(store.parts)).tolist()
