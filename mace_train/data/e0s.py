"""E0s: the energy of each element that the model adds before it looks at any neighbor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers as number_by_symbol
from jaxtyping import Bool, Float, Int

from mace_train.data.mp0 import MP0_E0S
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable

_ROWS = 20_000
_CACHED_ROWS = 1000
_SAME_ENERGY = 1e-3  # eV


@dataclass(frozen=True)
class AtomicEnergies:
    """E0s in the order of an `ElementTable`, and which of them the data determines."""

    values: Float[np.ndarray, " elements"]
    determined: Bool[np.ndarray, " elements"]


def find_atomic_energies(
    store: FrameStore,
    indices: Int[np.ndarray, " frames"],
    *,
    elements: ElementTable,
    e0s: str,
) -> AtomicEnergies:
    """E0s from a source that the user chooses.

    Args:
        store: The frames.
        indices: Training frames.
        elements: The model's elements.
        e0s: ``least_squares`` over the training frames, ``isolated_atoms`` among all
            frames, ``mp0`` (published constants), or the path of a JSON file.

    Raises:
        ValueError: If an element has no energy there; the message names the elements.
    """
    if e0s == "least_squares":
        return _least_squares(store, indices, elements=elements)
    if e0s == "isolated_atoms":
        value_by_number = _isolated_atoms(store)
        origin, cure = (
            "no frame is an isolated atom of it",
            "add such frames, or set data.e0s",
        )
    elif e0s == "mp0":
        value_by_number = MP0_E0S
        origin, cure = "MACE-MP-0 has none", "set data.e0s=least_squares"
    else:
        value_by_number = read_atomic_energies(Path(e0s))
        origin, cure = f"{e0s} has none", "add them there"
    missing = [
        symbol
        for symbol, number in zip(elements.symbols, elements.atomic_numbers)
        if number not in value_by_number
    ]
    if missing:
        raise ValueError(
            f"data.e0s={e0s}: no E0 of {', '.join(missing)} ({origin}): {cure}"
        )
    values = np.array([value_by_number[number] for number in elements.atomic_numbers])
    return AtomicEnergies(values, np.ones(len(elements), bool))


def read_atomic_energies(path: Path) -> dict[int, float]:
    """E0s in eV by atomic number from JSON: ``{"1": -3.6, "O": -7.2}``.

    The mapping may also stand under the key ``atomic_energies``.

    Raises:
        ValueError: If the file is absent or holds anything but elements and finite numbers.
    """
    try:
        content: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(
            f"data.e0s={path}: there is no such file (and it is none of least_squares, "
            "isolated_atoms, mp0)"
        ) from error
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"data.e0s={path} cannot be read as JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("atomic_energies"), dict):
        content = content["atomic_energies"]
    if not isinstance(content, dict) or not content:
        raise ValueError(
            f'data.e0s={path} must hold a mapping such as {{"1": -3.6, "O": -7.2}}'
        )
    return {
        _number_of(name, path): _energy_of(name, content[name], path) for name in content
    }


def _number_of(name: str, path: Path) -> int:
    number = int(name) if name.isdecimal() else number_by_symbol.get(name, 0)
    if not 1 <= number <= 118:
        raise ValueError(f"data.e0s={path}: {name!r} is no element")
    return number


def _energy_of(name: str, value: object, path: Path) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise ValueError(
        f"data.e0s={path}: the energy of {name} is {value!r}, not a number in eV"
    )


def _isolated_atoms(store: FrameStore) -> dict[int, float]:
    """Energies of the frames that are isolated atoms.

    Raises:
        ValueError: If two frames disagree on an element.
    """
    value_by_number: dict[int, float] = {}
    for place in np.flatnonzero(store.isolated & store.label_presence["energy"]).tolist():
        frame = store.frame(place)
        number, energy = int(frame.atomic_numbers[0]), store.energies[place]
        known = value_by_number.setdefault(number, float(energy))
        if abs(known - energy) > _SAME_ENERGY:
            raise ValueError(
                f"two isolated atoms of {frame.formula} have energies {known} and "
                f"{energy} eV (the second: {store.describe(place)}): remove one, or give "
                "data.e0s a file"
            )
    return value_by_number


def _least_squares(
    store: FrameStore,
    indices: np.ndarray,
    *,
    elements: ElementTable,
) -> AtomicEnergies:
    """E0s whose sums come closest to the energies of the training frames.

    Where compositions do not determine an element (it occurs in a fixed ratio to others, or
    not at all) the solution of least norm is taken, and the element is reported.
    """
    used = np.asarray(indices)[
        store.label_presence["energy"][indices] & ~store.isolated[indices]
    ]
    if len(used) == 0:
        none = np.zeros(len(elements))
        return AtomicEnergies(none, none.astype(bool))
    factor = np.zeros((0, len(elements) + 1))
    for block in _equations(store, used, elements):
        # Of the rows so far only their triangular factor matters: memory stays constant.
        factor = np.asarray(np.linalg.qr(np.concatenate([factor, block]), mode="r"))
    matrix, target = factor[:, :-1], factor[:, -1]
    _, singular, directions = np.linalg.svd(matrix, full_matrices=True)
    tolerance = singular.max() * max(len(used), len(elements)) * np.finfo(float).eps
    rank = int((singular > tolerance).sum())
    values = np.linalg.lstsq(matrix, target, rcond=tolerance / singular.max())[0]
    # An element is undetermined if energies do not change along a direction that holds it.
    free = np.linalg.norm(directions[rank:], axis=0)
    return AtomicEnergies(values, free < 1e-6)


def _equations(
    store: FrameStore, indices: np.ndarray, elements: ElementTable
) -> Iterator[np.ndarray]:
    """Rows of counts and energy, in blocks; of many frames, those of a run are merged.

    A million frames are mostly relaxations, whose frames follow each other and have one
    composition: n equations of equal left sides are sqrt(n) times one, of their mean
    energy.
    """
    for first in range(0, len(indices), _ROWS):
        part = indices[first : first + _ROWS]
        energies = store.energies[part]
        rows = np.column_stack([element_counts(store, part, elements), energies])
        if len(indices) <= _ROWS:
            yield rows
            continue
        begins = np.flatnonzero(np.any(rows[1:, :-1] != rows[:-1, :-1], axis=1)) + 1
        begins = np.concatenate([[0], begins])
        lengths = np.diff(begins, append=len(rows))
        merged = rows[begins]
        merged[:, -1] = np.add.reduceat(energies, begins) / lengths
        merged *= np.sqrt(lengths)[:, None]
        # Blocks that fit into a cache are factorized three times as fast.
        yield from np.array_split(merged, -(-len(merged) // _CACHED_ROWS))


def element_counts(
    store: FrameStore, indices: Int[np.ndarray, " frames"], elements: ElementTable
) -> Float[np.ndarray, "frames elements"]:
    """Atoms of each element in each of the given frames.

    Raises:
        ValueError: If a frame has an element that is not in the table; it is named.
    """
    composition = store.composition
    first = composition.first[indices]
    lengths = composition.first[indices + 1] - first
    rows = np.repeat(np.arange(len(indices)), lengths)
    # Entries of a frame follow each other: its first one plus 0, 1, 2, ...
    entries = np.arange(len(rows)) - np.repeat(
        np.cumsum(lengths) - lengths - first, lengths
    )
    counts = np.zeros((len(indices), len(elements)))
    columns = elements.index_of(composition.atomic_number[entries])
    counts[rows, columns] = composition.count[entries]
    return counts
