"""Which names and units labels may have in a user's file, and which the user asked for.

`label_reader` translates them; nothing beyond `data/` knows of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from ase import units

EnergyUnit = Literal["eV", "meV", "kcal/mol", "kJ/mol", "hartree", "rydberg"]
LengthUnit = Literal["angstrom", "bohr", "nm"]
Property = Literal["energy", "forces", "stress"]

EV_PER_UNIT: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "hartree": units.Hartree,
    "rydberg": units.Rydberg,
}
ANGSTROM_PER_UNIT: dict[str, float] = {"angstrom": 1.0, "bohr": units.Bohr, "nm": 10.0}

KNOWN_KEYS: dict[Property, tuple[str, ...]] = {
    "energy": ("energy", "REF_energy", "dft_energy", "DFT_energy"),
    "forces": ("forces", "force", "REF_forces", "dft_forces", "DFT_forces"),
    "stress": ("stress", "REF_stress", "dft_stress", "DFT_stress"),
}
"""Names that ``auto`` takes for a label. Corrected energies are never among them."""

SECOND_CHOICE: dict[Property, str] = {"energy": "free_energy"}
"""What ``auto`` takes where there is none of the known keys: ASE writes it beside
``energy``."""


@dataclass(frozen=True)
class LabelKeys:
    """Names and units of the labels in the user's files, as given by ``data.*``.

    Attributes:
        energy: Key of the energy; ``auto``: the one known key that the frames carry;
            ``none``: leave this label out.
        forces: The same for the forces.
        stress: The same for the stress.
        virials: Key of the virials, from which the stress is then made: -virial / volume.
        energy_unit: Unit of all energies, also of those in forces and stress.
        length_unit: Unit of positions and cells, and of the lengths in forces and stress.

    Raises:
        ValueError: If a unit is not known, or both a stress and a virials key are given.
    """

    energy: str = "auto"
    forces: str = "auto"
    stress: str = "auto"
    virials: str | None = None
    energy_unit: EnergyUnit = "eV"
    length_unit: LengthUnit = "angstrom"

    def __post_init__(self) -> None:
        for name, unit, known in (
            ("energy", self.energy_unit, EV_PER_UNIT),
            ("length", self.length_unit, ANGSTROM_PER_UNIT),
        ):
            if unit not in known:
                raise ValueError(
                    f"data.units.{name}={unit} is not known: choose one of "
                    f"{', '.join(known)}"
                )
        if self.virials is not None and self.stress != "auto":
            raise ValueError(
                f"data.virials_key={self.virials} and data.stress_key={self.stress} are "
                "both given, but the stress is made from one of them: drop the other"
            )

    def explicit(self) -> dict[str, str]:
        """The keys that were named, by their place in the configuration."""
        named = {"energy_key": self.energy, "forces_key": self.forces}
        named["stress_key"] = self.stress
        if self.virials is not None:
            named["virials_key"] = self.virials
        return {option: key for option, key in named.items() if key not in ("auto", "none")}


@dataclass
class KeyCounts:
    """Which key gave each label in how many frames.

    Attributes:
        used: By property, frames by the key that was read.
        passed_over: Frames with a stress that has no meaning, for want of 3-d periodicity.
    """

    used: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in KNOWN_KEYS}
    )
    passed_over: int = 0

    def merge(self, other: KeyCounts) -> None:
        """Add the counts of another part of the data."""
        for name, counts in other.used.items():
            self.used[name].update(counts)
        self.passed_over += other.passed_over

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        used = {name: dict(counts) for name, counts in self.used.items()}
        return {"used": used, "passed_over": self.passed_over}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> KeyCounts:
        """The counts that `to_dict` wrote."""
        used = {name: Counter(counts) for name, counts in values["used"].items()}
        return cls(used, values["passed_over"])
