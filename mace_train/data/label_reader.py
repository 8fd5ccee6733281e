"""Translate the labels of a frame into energy in eV, forces in eV/Å and stress in eV/Å^3.

The border that foreign names and units cross once, and where each label gets its weight.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mace_train.data.labels import (
    ANGSTROM_PER_UNIT,
    EV_PER_UNIT,
    KNOWN_KEYS,
    SECOND_CHOICE,
    KeyCounts,
    LabelKeys,
    Property,
)
from mace_train.data.look_alikes import COMMAND
from mace_train.data.problems import FrameError

if TYPE_CHECKING:
    from mace_train.data.plain_frame import RawFrame

_WEIGHT_KEYS = ("config_weight", "config_energy_weight", "config_forces_weight")


class FrameLabels(NamedTuple):
    """Labels of one frame in eV and Å, None where absent, and their weights."""

    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    energy_weight: float
    forces_weight: float
    stress_weight: float
    frame_weight: float


class LabelReader:
    """Translates the labels of raw frames.

    Args:
        keys: Their names and units.
        counts: Where to count which key was used.
    """

    def __init__(self, keys: LabelKeys, counts: KeyCounts) -> None:
        self._keys = keys
        self._counts = counts
        self.energy_factor = EV_PER_UNIT[keys.energy_unit]
        self.length_factor = ANGSTROM_PER_UNIT[keys.length_unit]
        self._candidates: dict[Property, tuple[str, ...]] = {
            "energy": _candidates("energy", keys.energy),
            "forces": _candidates("forces", keys.forces),
            "stress": (keys.virials,)
            if keys.virials
            else _candidates("stress", keys.stress),
        }
        source_of_stress = "virials" if keys.virials else "stress"
        self._weight_keys = (*_WEIGHT_KEYS, f"config_{source_of_stress}_weight")
        self._second_choice = SECOND_CHOICE if keys.energy == "auto" else {}

    @property
    def wanted(self) -> set[str]:
        """Names of the values and columns that may be needed."""
        names = {name for keys in self._candidates.values() for name in keys}
        names.update(self._weight_keys)
        names.update(SECOND_CHOICE.values())
        return names

    def read(self, raw: RawFrame, *, volume: float) -> FrameLabels:
        """The labels of a frame.

        Args:
            raw: The frame.
            volume: Of its cell, in Å^3; 0 where a stress has no meaning.

        Raises:
            FrameError: If a label is no number, not finite, of a wrong shape, or given
                twice with different values.
        """
        energy = self._energy(raw)
        forces = self._forces(raw)
        stress = self._stress(raw, volume)
        frame_weight, weights = 1.0, [1.0, 1.0, 1.0]
        if not raw.values.keys().isdisjoint(self._weight_keys):
            frame_weight, *weights = (_weight(raw, name) for name in self._weight_keys)
            if frame_weight == 0:  # the same as a frame without labels
                weights = [0.0, 0.0, 0.0]
        return FrameLabels(
            energy=energy,
            forces=forces,
            stress=stress,
            energy_weight=0.0 if energy is None else weights[0],
            forces_weight=0.0 if forces is None else weights[1],
            stress_weight=0.0 if stress is None else weights[2],
            frame_weight=frame_weight,
        )

    def _energy(self, raw: RawFrame) -> float | None:
        key, value = self._choose("energy", raw.values)
        if not key:
            return None
        if np.ndim(value) or not _is_number(value):
            raise _not_a_number("energy", f"{key}={value!r}")
        energy = float(value)
        if not math.isfinite(energy):
            _check_finite("energy", key, np.array(energy))
        return energy * self.energy_factor

    def _forces(self, raw: RawFrame) -> np.ndarray | None:
        key, value = self._choose("forces", raw.columns)
        if not key:
            return None
        array = np.asarray(value)
        if array.shape != raw.positions.shape or array.dtype.kind not in "if":
            raise _not_a_number("forces", f"column {key} holds {array.dtype}{array.shape}")
        _check_finite("forces", key, array)
        return array.astype(np.float64) * (self.energy_factor / self.length_factor)

    def _stress(self, raw: RawFrame, volume: float) -> np.ndarray | None:
        key, value = self._choose("stress", raw.values)
        if not key:
            return None
        if not volume:
            self._counts.passed_over += 1
            return None
        tensor = _symmetric_tensor(key, value)
        _check_finite("stress", key, tensor)
        if self._keys.virials:
            return tensor * (-self.energy_factor / volume)
        return tensor * (self.energy_factor / self.length_factor**3)

    def _choose(self, name: Property, holder: dict[str, Any]) -> tuple[str, Any]:
        """The key of a label in this frame, and its value; ``""`` where it has none."""
        present = [key for key in self._candidates[name] if key in holder]
        if not present:
            second = self._second_choice.get(name, "")
            if second not in holder:
                return "", None
            present = [second]
        first = present[0]
        for other in present[1:]:
            if not _same(name, holder[first], holder[other]):
                raise _ambiguous(name, present, holder)
        self._counts.used[name][first] += 1
        return first, holder[first]


def _candidates(name: Property, key: str) -> tuple[str, ...]:
    if key == "none":
        return ()
    return KNOWN_KEYS[name] if key == "auto" else (key,)


def _weight(raw: RawFrame, name: str) -> float:
    """A weight of the frame, 1 where it has none."""
    value = raw.values.get(name, 1.0)
    if not _is_number(value) or not 0 <= value < np.inf:
        raise FrameError(
            f"have a {name} that is not a number from 0 on",
            cure="Correct it, or remove it: without it the weight is 1.",
            detail=f"{name}={value!r}",
        )
    return float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )


def _symmetric_tensor(key: str, value: object) -> np.ndarray:
    """A 3x3 tensor from six numbers in ASE's order (xx yy zz yz xz xy), nine, or 3x3."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise _not_a_number("stress", f"{key}={value!r}") from error
    if array.dtype.kind not in "if" or array.size not in (6, 9):
        raise _not_a_number("stress", f"{key}={value!r}")
    if array.size == 6:
        return array.ravel().astype(np.float64)[_PLACES_IN_VOIGT]
    tensor = array.reshape(3, 3).astype(np.float64)
    asymmetry = np.abs(tensor - tensor.T).max()
    if asymmetry > 0.05 * np.abs(tensor).max():
        raise FrameError(
            f"have a {key} that is not symmetric",
            cure="A stress without torque is symmetric: check how the file was written.",
            detail=f"{key}={array.ravel().tolist()}",
        )
    return (tensor + tensor.T) / 2


_PLACES_IN_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])


def _check_finite(name: str, key: str, values: np.ndarray) -> None:
    if math.isfinite(np.vdot(values, values)) or np.isfinite(values).all():
        return
    where = (
        ""
        if values.ndim < 2 or name == "stress"
        else (f" of atom {int(np.argwhere(~np.isfinite(values))[0][0])} (from 0)")
    )
    bad = values[~np.isfinite(values)].ravel()[0]
    raise FrameError(
        f"have {_ARTICLE[name]} that is NaN or infinite",
        cure="The calculation did not finish: remove or recompute these frames.",
        detail=f"{key}{where} is {bad}",
    )


_ARTICLE = {"energy": "an energy", "forces": "a force", "stress": "a stress"}


def _not_a_number(name: str, detail: str) -> FrameError:
    shape = {
        "energy": "a number",
        "forces": "3 numbers an atom",
        "stress": "6 or 9 numbers",
    }
    return FrameError(
        f"have a label for the {name} that is not {shape[name]}",
        cure=f"Correct these frames, or name another label with data.{name}_key.",
        detail=detail,
    )


def _same(name: Property, first: object, second: object) -> bool:
    """Whether two labels for one property agree to what rounding in a file can explain."""
    try:
        a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
        if name == "stress":
            a, b = _symmetric_tensor("stress", a), _symmetric_tensor("stress", b)
    except (ValueError, TypeError):
        return False
    if a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True))


def _ambiguous(name: Property, present: list[str], holder: dict) -> FrameError:
    options = " or ".join(f"data.{name}_key={key}" for key in present)
    first_atom = " of atom 0" if name == "forces" else ""
    values = ", ".join(f"{key}{first_atom}={_shown(name, holder[key])}" for key in present)
    return FrameError(
        f"{told_twice(name)}, with different values: {', '.join(present)}",
        cure=f"Choose one: {options}, as in: {COMMAND} data.{name}_key={present[-1]}",
        detail=values,
    )


def told_twice(name: Property) -> str:
    """How a refusal begins that has several labels for one property."""
    return f"carry more than one label for the {name}"


def _shown(name: Property, value: Any) -> str:
    """An energy, the force on the first atom, or a stress, as a message shows them."""
    if name == "energy":
        return str(value)
    numbers = np.asarray(value)
    return str((numbers[0] if name == "forces" and len(numbers) else numbers).tolist())
