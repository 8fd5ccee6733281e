"""`FrameSet`: some frames of a store, and what they cover: elements, labels and sizes.

Floor 4. Training and evaluation ask here, before the first step, whether a model knows the
elements of its data and whether every term of the loss has labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Bool, Int

from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable

LABEL_NAMES = ("energy", "forces", "stress")
_NAMED_FRAMES = 3


@dataclass(frozen=True)
class FrameSet:
    """Some frames of a store, in an order.

    Attributes:
        store: All frames.
        indices: Places in it.
    """

    store: FrameStore
    indices: Int[np.ndarray, " frames"]

    @classmethod
    def of_all(cls, store: FrameStore) -> FrameSet:
        """All frames of a store."""
        return cls(store, np.arange(len(store)))

    def __len__(self) -> int:
        return len(self.indices)

    def where(self, chosen: Bool[np.ndarray, " frames"]) -> FrameSet:
        """The frames for which ``chosen`` holds."""
        return FrameSet(self.store, self.indices[chosen])

    def without_isolated_atoms(self) -> FrameSet:
        """Without frames that only give an E0: they are neither trained on nor scored."""
        return self.where(~self.store.isolated[self.indices])

    def with_elements(self, atomic_numbers: Collection[int]) -> FrameSet:
        """The frames that hold any of the given elements."""
        composition = self.store.composition
        wanted = np.isin(composition.atomic_number, list(atomic_numbers))
        held = np.zeros(len(self.store), dtype=bool)
        held[composition.frame[wanted]] = True
        return self.where(held[self.indices])

    @cached_property
    def atomic_numbers(self) -> set[int]:
        """Elements of these frames."""
        member = np.zeros(len(self.store), dtype=bool)
        member[self.indices] = True
        composition = self.store.composition
        of_members = np.repeat(member, np.diff(composition.first))
        return set(np.unique(composition.atomic_number[of_members]).tolist())

    @property
    def label_counts(self) -> dict[str, int]:
        """How many frames have each label, with a weight above 0."""
        presence = self.store.label_presence
        return {name: int(presence[name][self.indices].sum()) for name in LABEL_NAMES}

    def first_names(self) -> str:
        """The first frames by name, for messages."""
        names = [self.store.describe(int(index)) for index in self.indices[:_NAMED_FRAMES]]
        return "first: " + "; ".join(names)

    def require_elements(
        self, elements: ElementTable, *, who: str, where: str, cure: str
    ) -> None:
        """Check that every element of the frames stands in a table.

        Args:
            elements: What is known.
            who: Whose table it is, to begin the message with: "the model m.safetensors".
            where: What the frames are: "data.test".
            cure: What to do, to end the message with.

        Raises:
            ValueError: Names the unknown elements, how many frames hold them, and the first
                ones.
        """
        unknown = self.atomic_numbers - set(elements.atomic_numbers)
        if unknown:
            held = self.with_elements(unknown)
            raise ValueError(
                f"{who} does not know {name_elements(unknown)}, which {len(held)} of "
                f"{len(self)} frames of {where} hold ({held.first_names()}). It knows "
                f"{name_elements(elements.atomic_numbers)}. {cure}"
            )

    def require_labels(self, loss_weights: Mapping[str, float]) -> None:
        """Check that every label with a weight in the loss occurs in the frames.

        Args:
            loss_weights: Weight of ``energy``, ``forces`` and ``stress``.

        Raises:
            ValueError: Names each label without a sample and the override that drops its
                term.
        """
        counts = self.label_counts
        weighted = [name for name in LABEL_NAMES if loss_weights.get(name, 0) > 0]
        absent = [name for name in weighted if counts[name] == 0]
        if not absent:
            return
        lines = []
        for name in absent:
            other = " or data.virials_key" if name == "stress" else ""
            lines.append(
                f"none of the {len(self)} training frames has a label for {name}, but "
                f"loss.{name}_weight={loss_weights[name]:g}: drop that term with "
                f"loss.{name}_weight=0, or name the label with data.{name}_key{other}"
            )
            offers = self.store.census.offers_for(name)
            if offers:
                lines.append(f"names that look like the {name}, and how to take them:")
                lines += [f"  {offer}" for offer in offers]
        if "stress" in absent:
            lines.append("only frames periodic in three directions have a stress term")
        found = [f"{name} {count}/{len(self)}" for name, count in counts.items() if count]
        lines.append(f"labels found: {', '.join(found) or 'none'}")
        lines.append(f"names in the files: {self.store.census.names_found()}")
        raise ValueError("\n".join(lines))

    def random_sample(self, count: int, *, seed: int) -> FrameSet:
        """At most ``count`` frames, always the same for a seed, in their order here."""
        if len(self) <= count:
            return self
        chosen = np.random.default_rng(seed).choice(len(self), count, replace=False)
        return FrameSet(self.store, self.indices[np.sort(chosen)])


def name_elements(atomic_numbers: Collection[int]) -> str:
    """Chemical symbols in order of atomic number.

    >>> name_elements({8, 1})
    'H O'
    """
    return " ".join(chemical_symbols[number] for number in sorted(atomic_numbers))
