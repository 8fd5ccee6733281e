"""Structures to check a potential on: few, small, of many elements, and without symmetry.

Floor 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import chemical_symbols, covalent_radii, reference_states

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW_ATOMS = 4
_LATTICES = ("fcc", "bcc", "hcp", "diamond", "sc")


def choose_structures(
    frames: Sequence[Atoms], *, count: int = 3, max_atoms: int = 40
) -> list[Atoms]:
    """Choose small frames: one that is periodic, and others that add elements.

    Args:
        frames: E.g. the probe frames of a model file.
        count: How many at most.
        max_atoms: Larger ones are chosen only if all are larger.

    >>> choose_structures([Atoms("H2"), bulk("Si"), Atoms("O2")])[0].get_chemical_formula()
    'Si2'
    """
    by_size = sorted(frames, key=len)
    coupled = [frame for frame in by_size if len(frame) > 1 or frame.pbc.any()]
    small = [frame for frame in coupled if len(frame) <= max_atoms]
    small = small or coupled[:1] or by_size[:1]
    periodic = [frame for frame in small if frame.pbc.all()]
    chosen = [*periodic[:1]]
    known = {number for frame in chosen for number in frame.numbers}
    rest = [frame for frame in small if not any(frame is one for one in chosen)]
    while rest and len(chosen) < count:
        new = [len(set(frame.numbers.tolist()) - known) for frame in rest]
        place = int(np.argmax(new))  # the smallest of those that add most
        if new[place] == 0 and len(chosen) > 1:
            break
        chosen.append(rest.pop(place))
        known |= set(chosen[-1].numbers.tolist())
    return chosen


def build_structures(atomic_numbers: Sequence[int], *, count: int = 3) -> list[Atoms]:
    """Crystals of some elements, for a potential that comes without structures.

    Elements with a simple lattice have that of ASE; the first and the last element also
    share a rocksalt lattice.

    Args:
        atomic_numbers: Elements of the potential.
        count: How many crystals at most.
    """
    numbers = sorted(set(atomic_numbers))
    simple = [number for number in numbers if _has_simple_lattice(number)]
    places = np.linspace(0, len(simple) - 1, min(count - 1, len(simple))).round()
    built = [bulk(chemical_symbols[simple[int(place)]]) for place in dict.fromkeys(places)]
    first, last = numbers[0], numbers[-1]
    length = 2.2 * bond_length(first, last)
    if first == last:
        return built or [bulk(chemical_symbols[first], "sc", a=length / 2)]
    pair = chemical_symbols[first] + chemical_symbols[last]
    return [*built, bulk(pair, "rocksalt", a=length)]


def distorted(atoms: Atoms, *, seed: int = 0) -> Atoms:
    """A copy without symmetry, so that no force and no stress is zero for another reason.

    Atoms move by 0.05 Å and the cell by 1 %; a periodic structure of fewer than four atoms
    is repeated before.
    """
    copy = enlarged(atoms)
    rng = np.random.default_rng(seed)
    if copy.pbc.any():
        strain = rng.normal(scale=0.01, size=(3, 3))
        copy.set_cell(copy.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    copy.positions += rng.normal(scale=0.05, size=copy.positions.shape)
    return copy


def enlarged(atoms: Atoms, *, at_least: int = _FEW_ATOMS) -> Atoms:
    """A copy, repeated along its shortest periodic directions until it has some atoms."""
    copy = bare_copy(atoms)
    while copy.pbc.any() and len(copy) < at_least:
        lengths = np.where(copy.pbc, copy.cell.lengths(), np.inf)
        repeats = [1, 1, 1]
        repeats[int(np.argmin(lengths))] = 2
        copy = copy.repeat(repeats)
    return copy


def cluster(atoms: Atoms) -> Atoms:
    """The atoms of the cell alone, without their images."""
    return Atoms(atoms.numbers, atoms.positions - atoms.positions.mean(axis=0))


def bare_copy(atoms: Atoms) -> Atoms:
    """Elements, positions and cell; neither labels nor constraints nor velocities."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def bond_length(first: int, second: int) -> float:
    """Sum of covalent radii of two elements, Å."""
    return float(covalent_radii[first] + covalent_radii[second])


def _has_simple_lattice(number: int) -> bool:
    state = reference_states[number] if number < len(reference_states) else None
    if not state or state.get("symmetry") not in _LATTICES or "a" not in state:
        return False
    return state.get("basis", ()) is not None  # ASE calls the chains of Se and Te hcp
