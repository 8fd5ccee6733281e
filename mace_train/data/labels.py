"""Which names and units labels may have in a user's file, and which the user asked for.

`label_reader` translates them; nothing beyond `data/` knows of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

from ase import units

EnergyUnit = Literal["eV", "meV", "kcal/mol", "kJ/mol", "hartree", "rydberg"]
LengthUnit = Literal["angstrom", "bohr", "nm"]
Property = Literal["energy", "forces", "stress"]

LabelKey = Literal["auto", "none"] | str
"""Name of a label; ``auto`` is the one known name in the files, ``none`` leaves it out."""


class Units(TypedDict):
    """Units of the labels in the user's files."""

    energy: EnergyUnit
    length: LengthUnit


EV_AND_ANGSTROM: Units = {"energy": "eV", "length": "angstrom"}

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
    "energy": (
        "energy", "REF_energy", "ref_energy", "dft_energy", "DFT_energy",
        "Energy", "TotEnergy",
    ),
    "forces": (
        "forces", "force", "REF_forces", "ref_forces", "dft_forces", "DFT_forces",
        "dft_force", "DFT_force", "Forces",
    ),
    "stress": ("stress", "REF_stress", "ref_stress", "dft_stress", "DFT_stress"),
}  # fmt: skip
"""Names that ``auto`` takes for a label.

Corrected energies are never among them, nor ``total_energy``, which may hold the kinetic
energy of a simulation too.
"""

SECOND_CHOICE: dict[Property, str] = {"energy": "free_energy"}
"""What ``auto`` takes where there is none of the known keys: ASE writes it beside
``energy``."""


MATERIAL_KEYS = ("mp_id", "material_id")
"""Names of a frame's material: MACE's archive of MPtrj, and matbench-discovery's."""

RUN_KEYS = (
    "trajectory", "traj_id", "trajectory_id", "run_id", "mol_id", "molecule_id",
    "structure_id", "group",
)  # fmt: skip
"""Other names by which frames of a trajectory, a run or a molecule are told from others."""

GROUP_KEYS = (*MATERIAL_KEYS, *RUN_KEYS)
"""Names that ``data.group_key=auto`` knows, in the order in which they are tried."""


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
        are_checked: Whether they must be plausible: not so what a model has predicted.

    Raises:
        ValueError: If a unit is not known, or both a stress and a virials key are given.
    """

    energy: str = "auto"
    forces: str = "auto"
    stress: str = "auto"
    virials: str | None = None
    energy_unit: EnergyUnit = "eV"
    length_unit: LengthUnit = "angstrom"
    are_checked: bool = True

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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for records, which hold nothing of labels being checked as usual."""
        values = asdict(self)
        if self.are_checked:
            del values["are_checked"]
        return values

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
        offered: By `Offer`, frames by a name that looks like a label but was not read.
    """

    used: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in KNOWN_KEYS}
    )
    passed_over: int = 0
    offered: dict[str, Counter[str]] = field(default_factory=dict)

    def offer(self, offers: Iterable[tuple[str, str]]) -> None:
        """Count the look-alikes of one frame, as (`Offer`, name)."""
        for label, name in offers:
            self.offered.setdefault(label, Counter())[name] += 1

    def merge(self, other: KeyCounts) -> None:
        """Add the counts of another part of the data."""
        for name, counts in other.used.items():
            self.used[name].update(counts)
        self.passed_over += other.passed_over
        for label, counts in other.offered.items():
            self.offered.setdefault(label, Counter()).update(counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        used = {name: dict(counts) for name, counts in self.used.items()}
        offered = {label: dict(counts) for label, counts in self.offered.items()}
        return {"used": used, "passed_over": self.passed_over, "offered": offered}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> KeyCounts:
        """The counts that `to_dict` wrote."""
        used = {name: Counter(counts) for name, counts in values["used"].items()}
        offered = values.get("offered", {})  # shards of earlier versions have none
        return cls(
            used,
            values["passed_over"],
            {label: Counter(counts) for label, counts in offered.items()},
        )
