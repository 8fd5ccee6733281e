"""`DataSet`: one set of frames as the user describes it, and several as one store.

Floor 4. ``data.train`` and its like are files, or sets with weights and heads; here the
latter are read, checked against each other, opened together and split one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np

from mace_train.constraints import NonNegativeFloat, PositiveFloat
from mace_train.data.mixed_store import ONLY_SET, MixedStore, SetRole
from mace_train.data.splits import Split

if TYPE_CHECKING:
    from mace_train.data.store import FrameStore

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
    property those of that property.
    """

    name: str
    head: str
    e0s: str
    weight: PositiveFloat
    energy_weight: NonNegativeFloat
    forces_weight: NonNegativeFloat
    stress_weight: NonNegativeFloat


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

    Raises:
        ValueError: If a weight is out of range.
    """

    path: str | list[str]
    name: str
    head: str = DEFAULT_HEAD
    e0s: str | None = None
    weight: PositiveFloat = 1.0
    energy_weight: NonNegativeFloat = 1.0
    forces_weight: NonNegativeFloat = 1.0
    stress_weight: NonNegativeFloat = 1.0

    def __post_init__(self) -> None:
        for name in _WEIGHTS:
            value = getattr(self, name)
            if not 0 <= value < np.inf or (name == "weight" and value == 0):
                raise ValueError(
                    f"{name}={value} of the set {self.name} is out of range: give a number "
                    "above 0, or leave the set out (a property's weight may be 0)"
                )

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


def open_sets(
    sets: Sequence[DataSet],
    *,
    heads: Sequence[str],
    open_files: Callable[[str | list[str]], FrameStore],
) -> FrameStore:
    """The frames of sets as one store; of one set without a role, its own.

    Args:
        sets: At least one.
        heads: Of the model.
        open_files: Opens what one set names.

    Raises:
        ValueError: If a file belongs to two sets.
    """
    parts = [open_files(one.path) for one in sets]
    roles = [one.role(heads) for one in sets]
    if len(heads) == 1 and roles == [ONLY_SET]:
        return parts[0]
    set_by_sha256: dict[str, str] = {}
    for one, part in zip(sets, parts):
        files = {
            source["sha256"]: source["name"]
            for shard in part.shards
            for source in shard.sources
        }
        for sha256 in sorted(files.keys() & set_by_sha256.keys(), key=files.__getitem__):
            raise ValueError(
                f"{files[sha256]} is in the sets {set_by_sha256[sha256]} and {one.name}: "
                "its frames would count twice, and could be on both sides of a split. Name "
                "it in one set, and let weight say how much it counts"
            )
        set_by_sha256 |= dict.fromkeys(files, one.name)
    names = [one.name for one in sets]
    return MixedStore(parts, names=names, roles=roles, heads=heads)


def split_sets(store: MixedStore, split_one: Callable[[FrameStore], Split]) -> Split:
    """Split each set by itself, and join the parts.

    A set of nothing but isolated atoms goes to the training frames, for its E0s.

    Args:
        store: The sets.
        split_one: Splits the frames of one set.

    Raises:
        ValueError: If a set cannot be split; the message names it.
    """
    splits: list[Split] = []
    for name, part in zip(store.names, store.parts):
        if part.isolated.all():
            none = np.zeros(0, np.int64)
            splits.append(Split(np.arange(len(part)), none, none, method="none"))
            continue
        try:
            splits.append(split_one(part))
        except ValueError as error:
            raise ValueError(f"the set {name} of data.train: {error}") from error
    first = np.cumsum([0, *store.set_sizes])
    places: Mapping[str, np.ndarray] = {
        side: np.concatenate([s.subsets[side] + at for s, at in zip(splits, first)])
        for side in SPLIT_NAMES
    }
    return Split(
        **places,
        method=" + ".join(dict.fromkeys(split.method for split in splits)),
        warnings=tuple(warning for split in splits for warning in split.warnings),
    )
