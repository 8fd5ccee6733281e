"""From the user's files to splits, elements and statistics.

Floor 3. The data module holds a `TrainingData` and makes loaders of it; nothing here knows
of Lightning, ranks or batches.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from ase.data import atomic_numbers

from mace_train.data.cache import open_store
from mace_train.data.labels import EnergyUnit, LabelKeys, LengthUnit
from mace_train.data.split_file import read_split
from mace_train.data.splits import Split, make_split
from mace_train.data.statistics import Statistics, compute_statistics
from mace_train.data.store import FrameStore
from mace_train.elements import MP0_ATOMIC_NUMBERS, ElementTable
from mace_train.training.frame_set import FrameSet, name_elements

logger = logging.getLogger(__name__)

SplitName = Literal["train", "valid", "test"]
SplitMethod = Literal["auto", "group", "blocks", "random"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "valid", "test")


class Units(TypedDict):
    """Units of the labels in the user's files."""

    energy: EnergyUnit
    length: LengthUnit


LabelKey = Literal["auto", "none"] | str
"""Name of a label; ``auto`` is the one known name in the files, ``none`` leaves it out."""

EV_AND_ANGSTROM: Units = {"energy": "eV", "length": "angstrom"}

Progress = Callable[[int, int | None], None]
"""Is told the frames done and the frames in all, where these are known."""

FileSpec = str | Sequence[str]
"""A file, a folder, a glob or a list, of extended XYZ or of shards."""


@dataclass(frozen=True)
class DataSources:
    """Where frames come from and how they are read and split; see `MACEDataModule`."""

    train: FileSpec
    valid: FileSpec | None
    test: FileSpec | None
    valid_fraction: float
    test_fraction: float
    split: SplitMethod
    split_file: Path | None
    group_key: str
    seed: int
    elements: Literal["auto", "mp0"] | Sequence[int | str]
    e0s: str
    keys: LabelKeys
    max_force: float | None
    cache_dir: Path | None

    def open(
        self, name: SplitName, *, r_max: float, progress: Progress | None = None
    ) -> FrameStore | None:
        """Frames of ``data.train``, ``data.valid`` or ``data.test``, if it is given.

        What is not prepared yet is prepared in the cache, and ``progress`` is told.
        """
        spec = getattr(self, name)
        if spec is None:
            return None
        return open_store(
            spec,
            keys=self.keys,
            group_key=self.group_key,
            max_force=self.max_force,
            r_max=r_max,
            cache_dir=self.cache_dir,
            workers=num_cores(),
            progress=progress,
        )

    def share_out(self, store: FrameStore) -> Split:
        """Split the frames of ``data.train``; a set with files of its own takes none."""
        if self.split_file is not None:
            split = read_split(self.split_file, store)
            for warning in split.warnings:
                logger.warning("%s", warning)
            self._warn_of_unused_subsets(split)
            return split
        return make_split(
            store,
            method=self.split,
            group_key=self.group_key,
            valid_fraction=0.0 if self.valid is not None else self.valid_fraction,
            test_fraction=0.0 if self.test is not None else self.test_fraction,
            seed=self.seed,
        )

    def _warn_of_unused_subsets(self, split: Split) -> None:
        for name in ("valid", "test"):
            unused = len(split.subsets[name])
            if getattr(self, name) is not None and unused:
                logger.warning(
                    "data.%s names files of its own: %d frames that %s has for it are not "
                    "used",
                    name,
                    unused,
                    self.split_file,
                )

    def warn_of_settings_of(self, parent: Parent) -> None:
        """Say which settings have no effect beside the model that training starts from."""
        ignored = {"data.elements": (self.elements, "auto")}
        if parent.statistics is not None:
            ignored["data.e0s"] = (self.e0s, "least_squares")
        for key, (value, default) in ignored.items():
            if value != default:
                logger.warning(
                    "%s=%s has no effect: that of the model of init_from is kept",
                    key,
                    value,
                )


@dataclass(frozen=True)
class Parent:
    """What training takes over from the model it starts from.

    Attributes:
        elements: Its elements; the data may hold no other.
        statistics: Its statistics, to be used instead of those of the data; or None.
    """

    elements: ElementTable
    statistics: Statistics | None = None


@dataclass(frozen=True)
class TrainingData:
    """The frames of a run and what is known of them.

    Attributes:
        train_store: Frames of ``data.train``.
        split: How they are shared out.
        sets: Frames of each split, without those of isolated atoms, which only give E0s.
        elements: Of the model.
        statistics: Of the training split.
    """

    train_store: FrameStore
    split: Split
    sets: dict[SplitName, FrameSet]
    elements: ElementTable
    statistics: Statistics


def load_training_data(
    sources: DataSources, *, r_max: float, parent: Parent | None = None
) -> TrainingData:
    """Open, split and count the frames, and log what was found.

    Args:
        sources: Where frames come from.
        r_max: Cutoff in Å, for the mean number of neighbors.
        parent: The model that training starts from, if any.

    Raises:
        ValueError: If no frame is left to train on, or a set holds an element that is not
            among the model's.
    """
    if parent is not None:
        sources.warn_of_settings_of(parent)
    stores = {name: sources.open(name, r_max=r_max) for name in SPLIT_NAMES}
    store = stores["train"]
    assert store is not None, "data.train is always given"
    logger.info("labels: %s", store.census.summary())
    split = sources.share_out(store)
    sets: dict[SplitName, FrameSet] = {}
    for name in SPLIT_NAMES:
        own = stores[name]
        if name == "train" or own is None:
            frames = FrameSet(store, getattr(split, name))
        else:
            frames = FrameSet.of_all(own)
        sets[name] = frames.without_isolated_atoms()
    _log_frames(sets, num_isolated=int(store.isolated.sum()))
    if not len(sets["train"]):
        raise ValueError(
            f"none of the {len(store)} frames of data.train is left to train on: "
            f"{len(sets['valid'])} validate, {len(sets['test'])} are the test, and "
            "isolated atoms only give E0s"
        )
    elements = _choose_elements(sources.elements, store, sets, parent=parent)
    statistics = parent.statistics if parent is not None else None
    if statistics is None:
        statistics = compute_statistics(
            store, split.train, elements=elements, r_max=r_max, e0s=sources.e0s
        )
    logger.info(
        "%s\navg_num_neighbors %.4f, scale %.6f eV/Å, shift %.6f eV/atom",
        statistics.table(),
        statistics.avg_num_neighbors,
        statistics.scale,
        statistics.shift,
    )
    return TrainingData(store, split, sets, elements, statistics)


def num_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose_elements(
    chosen: Literal["auto", "mp0"] | Sequence[int | str],
    store: FrameStore,
    sets: dict[SplitName, FrameSet],
    *,
    parent: Parent | None,
) -> ElementTable:
    """Elements of the model, which must be known in every set."""
    who, cure = "data.elements", "Name them all in data.elements, or set it to mp0."
    if parent is not None:
        elements = parent.elements
        who, cure = "the model of init_from", "Start from a model that knows them."
    elif chosen == "mp0":
        elements = ElementTable(MP0_ATOMIC_NUMBERS)
        cure = "Name all elements in data.elements."
    elif isinstance(chosen, str):
        elements = ElementTable.containing(store.atomic_numbers)
        who = "the model, whose elements are those of data.train (data.elements=auto),"
    else:
        elements = ElementTable.containing(map(_atomic_number, chosen))
    for name, frames in sets.items():
        frames.require_elements(elements, who=who, where=f"the {name} set", cure=cure)
        _warn_of_untrained_elements(name, frames, trained=sets["train"].atomic_numbers)
    return elements


def _warn_of_untrained_elements(name: str, frames: FrameSet, *, trained: set[int]) -> None:
    untrained = frames.atomic_numbers - trained
    if untrained:
        held = frames.with_elements(untrained)
        logger.warning(
            "no training frame holds %s: errors on %d of %d %s frames will be large (%s)",
            name_elements(untrained),
            len(held),
            len(frames),
            name,
            held.first_names(),
        )


def _atomic_number(element: int | str) -> int:
    """Atomic number of an element given by number or symbol."""
    if isinstance(element, int):
        return element
    if element not in atomic_numbers:
        raise ValueError(f"data.elements: {element!r} is no element")
    return atomic_numbers[element]


def _log_frames(sets: dict[SplitName, FrameSet], *, num_isolated: int) -> None:
    for name, frames in sets.items():
        if len(frames):
            counts = frames.label_counts.items()
            labels = ", ".join(f"{label} {count}/{len(frames)}" for label, count in counts)
            num_atoms = int(frames.store.num_atoms[frames.indices].sum())
            logger.info("%s: %d frames, %d atoms; %s", name, len(frames), num_atoms, labels)
    if num_isolated:
        logger.info("%d frames of isolated atoms give E0s and nothing else", num_isolated)
    if not len(sets["valid"]):
        logger.warning(
            "there are no validation frames: the lowest training loss tells the best epoch"
        )
