"""Which structures show what a model has forgotten: probe frames, or simple ones built.

Floor 5. The probe frames in a model file are a sample of what it was trained on. Where
there are none, as in an official file, elemental crystals and dimers of its elements stand
in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from mace_train.checkpoints.model_file import read_probes
from mace_train.finetuning.parent_labels import place_of_head, predict_structures
from mace_train.physics.structures import bond_length, build_structures, distorted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mace_train.elements import ElementTable
    from mace_train.model.mace import MACE

_LARGEST_FORCE = 30.0  # eV/Å: beyond, no thermal motion leads there
_MOLECULAR = frozenset({1, 2, 7, 8, 9, 17, 35, 53})  # no crystal of single atoms
_STRETCHES = (1.0, 0.95, 1.05)  # of the lattice constant
_DISTANCES = (1.05, 0.9, 1.4)  # of the sum of covalent radii


@dataclass(frozen=True)
class GuardFrames:
    """Structures on which the parent and the fine-tuned model are compared.

    Attributes:
        structures: Without labels.
        origin: What they are, in words for a table.
    """

    structures: tuple[Atoms, ...]
    origin: str


def find_guard(
    parent_path: Path | None,
    parent: MACE,
    *,
    elements: ElementTable | None = None,
    head: str | None = None,
    max_frames: int = 100,
    seed: int = 0,
) -> GuardFrames:
    """Structures that show what the parent knew; the choice is reproducible.

    These are the probe frames in the parent's model file. For a file without any they are
    rattled and strained elemental crystals, and dimers, of at most 16 atoms, on which the
    parent's forces are below 30 eV/Å.

    Args:
        parent_path: File of the parent; None: there is none, so structures are built.
        parent: The parent itself.
        elements: Those that the fine-tuned model still knows; None: all of the parent.
            Frames with others cannot be compared and are left out.
        head: Head of the parent that is asked, which also chooses among probe frames of
            several heads; None: the only one.
        max_frames: How many structures at most.
        seed: Of the rattling.

    Raises:
        ValueError: If the head is missing or unknown, or the parent's forces are absurd on
            every structure.
    """
    known = (elements or parent.elements).atomic_numbers
    probes = [] if parent_path is None else _probes(parent_path, parent, head=head)
    usable = [atoms for atoms in probes if set(known).issuperset(atoms.numbers.tolist())]
    usable = _sound(usable, parent, head=head, largest=np.inf)
    if usable:
        chosen = _spread(usable, max_frames)
        rest = len(probes) - len(usable)
        left_out = f" ({rest} with other elements left out)" if rest else ""
        return GuardFrames(
            tuple(chosen), f"{len(chosen)} probe frames of the parent{left_out}"
        )
    built = _built(known, max_frames=max_frames, seed=seed)
    sound = _sound(built, parent, head=head, largest=_LARGEST_FORCE)
    if not sound:
        raise ValueError(
            "the parent's forces on elemental crystals and dimers are all beyond "
            f"{_LARGEST_FORCE:.0f} eV/Å or not finite, so there is nothing to guard: check "
            "the parent with mace-check, or give frames with data.guard=FILE"
        )
    what = f"{len(sound)} crystals and dimers built of the parent's elements"
    return GuardFrames(tuple(sound), what)


def _probes(path: Path, parent: MACE, *, head: str | None) -> list[Atoms]:
    """Probe frames of a file, those of one head where it has several."""
    probes = read_probes(path)
    if probes is None:
        return []
    structures = probes.structures()
    asked = place_of_head(parent, head)
    of_head = [
        atoms
        for atoms, place in zip(structures, probes.head.tolist())
        if place == asked or len(parent.heads) == 1
    ]
    return of_head or structures


def _sound(
    structures: Sequence[Atoms], parent: MACE, *, head: str | None, largest: float
) -> list[Atoms]:
    """Those with finite predictions and no force of ``largest`` eV/Å or more."""
    predictions = predict_structures(structures, parent, head=head)
    return [
        atoms
        for atoms, said in zip(structures, predictions)
        if not said.wrong and np.linalg.norm(said.forces, axis=1).max() < largest
    ]


def _built(numbers: Sequence[int], *, max_frames: int, seed: int) -> list[Atoms]:
    """Crystals and dimers, round by round, so that a few show many elements.

    First a crystal of each element, or a dimer where its solid is of molecules; then
    dimers of the others, further strains and distances, and dimers of different elements.
    The round that is too many is thinned out evenly.
    """
    molecules = [n for n in numbers if n in _MOLECULAR]
    rounds = [[_dimer(number, number, 1.0) for number in molecules]]
    for stretch, distance in zip(_STRETCHES, _DISTANCES):
        rounds.append([_crystal(n, stretch) for n in numbers if n not in _MOLECULAR])
        rounds.append([_dimer(number, number, distance) for number in numbers])
    for distance in _DISTANCES:
        rounds.append([_dimer(*pair, distance) for pair in combinations(numbers, 2)])
    chosen: list[Atoms] = []
    for one in rounds:
        chosen += _spread(one, max_frames - len(chosen))
    return [
        distorted(atoms, seed=100_000 * seed + place) if atoms.pbc.any() else atoms
        for place, atoms in enumerate(chosen)
    ]


def _crystal(number: int, stretch: float) -> Atoms:
    """An elemental crystal, in the element's own lattice if that is a simple one."""
    atoms = build_structures([number])[0]
    atoms.set_cell(stretch * atoms.cell.array, scale_atoms=True)
    return atoms


def _dimer(first: int, second: int, distance: float) -> Atoms:
    length = distance * bond_length(first, second)
    return Atoms([first, second], positions=[[0.0, 0.0, 0.0], [0.0, 0.0, length]])


def _spread(structures: Sequence[Atoms], count: int) -> list[Atoms]:
    """At most so many of them, evenly spread."""
    if count <= 0:
        return []
    wanted = min(count, len(structures))
    places = np.linspace(0, len(structures) - 1, wanted).round().astype(int)
    return [structures[place] for place in dict.fromkeys(places.tolist())]
