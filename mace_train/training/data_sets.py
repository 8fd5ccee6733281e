"""`DataSet`: one set of frames as the user describes it.

Floor 4. ``data.train`` and its like are files, or sets with weights and heads; here the
latter are read and checked against each other, and `joined_sets` makes one store of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from mace_train.constraints import NonNegativeFloat, PositiveFloat
from mace_train.data.labels import LabelKey, LabelKeys, Units
from mace_train.data.mixed_store import SetRole

SplitName = Literal["train", "valid", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "valid", "test")

DEFAULT_HEAD = "Default"
"""The head of sets that name none."""

_WEIGHTS = ("weight", "energy_weight", "forces_weight", "stress_weight")


class _Files(TypedDict):
    path: str | list[str]


class SetConfig(_Files, total=False):
    """A set in ``data.train`` and its like.

    Its ``weight`` multiplies all terms of its frames in the loss, and the weight of a
    property those of that property. Names and units of labels that it does not give are
    those of ``data.*_key`` and ``data.units``.
    """

    name: str
    head: str
    e0s: str
    weight: PositiveFloat
    energy_weight: NonNegativeFloat
    forces_weight: NonNegativeFloat
    stress_weight: NonNegativeFloat
    hold_out: bool
    energy_key: LabelKey
    forces_key: LabelKey
    stress_key: LabelKey
    virials_key: str
    units: Units
    check_labels: bool


FileSpec = str | Sequence[str | SetConfig]
"""A file, a folder, a glob, or a list of these and of sets, extended XYZ or shards."""


@dataclass(frozen=True)
class DataSet:
    """Frames that are named, weighed and split together.

    Attributes:
        path: A file, a folder, a glob or a list of these.
        name: In messages and records.
        head: The model's head that learns them.
        e0s: Where the E0s of that head come from; None: as ``data.e0s`` says.
        weight: Of all their terms in the loss.
        energy_weight: Of their energies besides; 0: as if they had none.
        forces_weight: The same for the forces.
        stress_weight: The same for the stress.
        hold_out: Whether its frames may validate or be the test; else all are trained on.
        energy_key: Name of its energies; None: as ``data.energy_key`` says.
        forces_key: The same for the forces.
        stress_key: The same for the stress.
        virials_key: Name of its virials; with ``stress_key`` None, as the data's.
        units: Of its labels; None: as ``data.units`` says.
        check_labels: Whether they are refused if they are not plausible, as those of a
            wrong unit; not so for what a model has predicted.

    Raises:
        ValueError: If a weight is out of range, or no label has any weight.
    """

    path: str | list[str]
    name: str
    head: str = DEFAULT_HEAD
    e0s: str | None = None
    weight: PositiveFloat = 1.0
    energy_weight: NonNegativeFloat = 1.0
    forces_weight: NonNegativeFloat = 1.0
    stress_weight: NonNegativeFloat = 1.0
    hold_out: bool = True
    energy_key: LabelKey | None = None
    forces_key: LabelKey | None = None
    stress_key: LabelKey | None = None
    virials_key: str | None = None
    units: Units | None = None
    check_labels: bool = True

    def __post_init__(self) -> None:
        for name in _WEIGHTS:
            value = getattr(self, name)
            if not 0 <= value < np.inf or (name == "weight" and value == 0):
                raise ValueError(
                    f"{name}={value} of the set {self.name} is out of range: give a number "
                    "above 0, or leave the set out (a property's weight may be 0)"
                )
        if self.energy_weight == self.forces_weight == self.stress_weight == 0:
            raise ValueError(
                "energy_weight, forces_weight and stress_weight of the set "
                f"{self.name} are all 0: its frames would have no effect on the loss; give "
                "weights, or leave the set out"
            )

    def label_keys(self, default: LabelKeys) -> LabelKeys:
        """Names and units of its labels.

        Args:
            default: Those of all data. As the stress is made from a stress or from virials,
                a set that names one of them takes neither from here.

        Raises:
            ValueError: If the set names both, or a unit is not known.
        """
        own: dict[str, str | None] = {}
        if self.stress_key is not None or self.virials_key is not None:
            own |= {"stress": self.stress_key or "auto", "virials": self.virials_key}
        if self.energy_key is not None:
            own["energy"] = self.energy_key
        if self.forces_key is not None:
            own["forces"] = self.forces_key
        if self.units is not None:
            own["energy_unit"] = self.units["energy"]
            own["length_unit"] = self.units["length"]
        checked = default.are_checked and self.check_labels
        return replace(default, **own, are_checked=checked)

    def role(self, heads: Sequence[str]) -> SetRole:
        """What the frames are to a model with these heads."""
        return SetRole(
            head=heads.index(self.head) if len(heads) > 1 else 0,
            energy_weight=self.weight * self.energy_weight,
            forces_weight=self.weight * self.forces_weight,
            stress_weight=self.weight * self.stress_weight,
        )


def read_sets(key: str, spec: FileSpec) -> tuple[DataSet, ...]:
    """The sets that a config key names; files without further words are one set.

    Args:
        key: For messages, such as ``data.train``.
        spec: Its value.

    Raises:
        ValueError: If there is nothing, two sets have one name, or a weight is out of
            range.
    """
    items = [spec] if isinstance(spec, str) else list(spec)
    if not items:
        raise ValueError(f"{key} names no data: give a file, a folder, a glob or a list")
    paths = [item for item in items if isinstance(item, str)]
    if len(paths) == len(items):
        return (DataSet(spec if isinstance(spec, str) else paths, _short_name(paths)),)
    mappings = [SetConfig(path=one) if isinstance(one, str) else one for one in items]
    short = Counter(_short_name(one["path"]) for one in mappings)
    sets = tuple(DataSet(**{"name": _name(one["path"], short), **one}) for one in mappings)
    twice = [name for name, count in Counter(s.name for s in sets).items() if count > 1]
    if twice:
        raise ValueError(
            f"{key} has several sets named {twice[0]}: name each set once, and give sets "
            "names of their own with name: NAME"
        )
    return sets


def _short_name(path: str | list[str]) -> str:
    """The name of the first file or folder without its place."""
    names = [Path(one).name or one for one in ([path] if isinstance(path, str) else path)]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _name(path: str | list[str], short: Counter[str]) -> str:
    """The short name of a set, or where several have it the whole path."""
    if short[_short_name(path)] == 1:
        return _short_name(path)
    return path if isinstance(path, str) else ", ".join(path)


def require_known_heads(key: str, sets: Sequence[DataSet], heads: Sequence[str]) -> None:
    """Check that sets to validate or test on belong to heads that are trained.

    Raises:
        ValueError: If a head is not among those of the training sets, or a set names E0s,
            which come from training sets alone.
    """
    for one in sets:
        names_none = one.head == DEFAULT_HEAD and len(heads) == 1
        if one.head not in heads and not names_none:
            raise ValueError(
                f"the set {one.name} of {key} is of the head {one.head}, which no set of "
                f"data.train has: choose one of {', '.join(heads)} for it, as in "
                f"{key}='[{{path: {one.path}, head: {heads[0]}}}]'"
            )
        if one.e0s is not None:
            raise ValueError(
                f"the set {one.name} of {key} has e0s={one.e0s}, but E0s belong to heads: "
                "give them to a set of data.train"
            )


def e0s_by_head(sets: Sequence[DataSet], default: str) -> dict[str, str]:
    """Where the E0s of each head come from; heads are in order of first appearance.

    Args:
        sets: Those to train on.
        default: For heads whose sets say nothing.

    Raises:
        ValueError: If two sets of a head disagree.
    """
    source_by_head: dict[str, str | None] = dict.fromkeys(one.head for one in sets)
    for one in sets:
        known = source_by_head[one.head]
        if one.e0s is not None and known not in (None, one.e0s):
            raise ValueError(
                f"sets of the head {one.head} have e0s={known} and e0s={one.e0s}: a head "
                "has one set of E0s; give these sets the same, or heads of their own"
            )
        if one.e0s is not None:
            source_by_head[one.head] = one.e0s
    return {head: source or default for head, source in source_by_head.items()}
