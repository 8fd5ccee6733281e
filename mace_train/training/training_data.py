"""From the user's files to splits, elements and statistics.

Floor 4. The data module holds a `TrainingData` and makes loaders of it; nothing here knows
of Lightning, ranks or batches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.data.mixed_store import MixedStore, count_by_set
from mace_train.data.mixing import Mixing, make_order
from mace_train.data.parallel import num_cores
from mace_train.data.sampler import Order
from mace_train.data.split_file import read_split
from mace_train.data.split_units import SplitMethod
from mace_train.data.splits import Split, make_split
from mace_train.data.statistics import Statistics
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable
from mace_train.training.data_sets import (
    SPLIT_NAMES,
    DataSet,
    SplitName,
    e0s_by_head,
    require_known_heads,
)
from mace_train.training.data_summary import (
    log_frames,
    log_labels,
    log_statistics,
    warn_of_files_in_both,
)
from mace_train.training.frame_set import FrameSet
from mace_train.training.head_statistics import (
    compute_head_statistics,
    mean_neighbors,
    require_trained_heads,
)
from mace_train.training.joined_sets import open_sets, split_sets, trained_places
from mace_train.training.model_elements import choose_elements
from mace_train.training.parent_model import Parent

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
"""Is told the frames done and the frames in all, where these are known."""


@dataclass(frozen=True)
class DataSources:
    """Where frames come from and how they are read and split; see `MACEDataModule`.

    Raises:
        ValueError: If sets do not fit together.
    """

    train: tuple[DataSet, ...]
    valid: tuple[DataSet, ...] | None
    test: tuple[DataSet, ...] | None
    guard: tuple[DataSet, ...] | None
    mixing: Mixing
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

    def __post_init__(self) -> None:
        _ = self.e0s_by_head
        for key, sets in (
            ("data.valid", self.valid),
            ("data.test", self.test),
            ("data.guard", self.guard),
        ):
            require_known_heads(key, sets or (), self.heads)

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads of the model, in the order in which ``data.train`` names them."""
        return tuple(self.e0s_by_head)

    @property
    def e0s_by_head(self) -> dict[str, str]:
        """Where the E0s of each head come from."""
        return e0s_by_head(self.train, self.e0s)

    def require_heads(self, heads: Sequence[str]) -> None:
        """Refuse heads other than those that a run which starts from a model can train.

        Args:
            heads: Those of the model, where there are several.

        Raises:
            ValueError: Names the heads, and what to do.
        """
        if len(self.heads) > 1 and set(self.heads) != set(heads):
            raise ValueError(
                f"data.train has the heads {', '.join(self.heads)}, but a run that starts "
                "from a model (init_from) trains that model's one head: give all sets the "
                "same head; or add a head for your frames with experiment=finetune "
                "finetune.method=replay; or train the heads together from the beginning, "
                "without init_from"
            )

    def open(
        self,
        name: SplitName | Literal["guard"],
        *,
        r_max: float,
        progress: Progress | None = None,
    ) -> FrameStore | None:
        """Frames of ``data.train``, ``valid``, ``test`` or ``guard``, if it is given.

        What is not prepared yet is prepared in the cache, and ``progress`` is told.
        """
        sets: tuple[DataSet, ...] | None = getattr(self, name)
        if sets is None:
            return None

        def open_one(one: DataSet) -> FrameStore:
            return open_store(
                one.path,
                keys=one.label_keys(self.keys),
                group_key=self.group_key,
                max_force=self.max_force,
                r_max=r_max,
                cache_dir=self.cache_dir,
                workers=num_cores(),
                progress=progress,
            )

        return open_sets(sets, heads=self.heads, open_one=open_one)

    def share_out(self, store: FrameStore) -> Split:
        """Split the frames of ``data.train``; a set with files of its own takes none."""
        hold_out = [one.hold_out for one in self.train]
        if self.split_file is not None:
            trained = trained_places(store, hold_out)
            split = read_split(self.split_file, store, trained=trained)
            for warning in split.warnings:
                logger.warning("%s", warning)
            self._warn_of_unused_subsets(split)
            return split
        split_one = partial(
            make_split,
            method=self.split,
            group_key=self.group_key,
            valid_fraction=0.0 if self.valid is not None else self.valid_fraction,
            test_fraction=0.0 if self.test is not None else self.test_fraction,
            seed=self.seed,
        )
        if isinstance(store, MixedStore):
            return split_sets(store, split_one, hold_out=hold_out)
        return split_one(store)

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
        ignored: dict[str, tuple[Any, Any]] = {"data.elements": (self.elements, "auto")}
        if parent.statistics is not None:
            sources = " and ".join(dict.fromkeys(self.e0s_by_head.values()))
            ignored["data.e0s"] = (sources, "least_squares")
        for key, (value, default) in ignored.items():
            if value != default:
                logger.warning(
                    "%s=%s has no effect: that of the model of init_from is kept (see "
                    "finetune.elements and finetune.e0s for a fine-tuning)",
                    key,
                    value,
                )


@dataclass(frozen=True)
class TrainingData:
    """The frames of a run and what is known of them.

    Attributes:
        train_store: Frames of ``data.train``; a `MixedStore` if these are several sets.
        split: How they are shared out.
        sets: Frames of each split, without those of isolated atoms, which only give E0s.
        order: In which order training frames come.
        elements: Of the model.
        statistics_by_head: Of the training split.
    """

    train_store: FrameStore
    split: Split
    sets: dict[SplitName, FrameSet]
    order: Order
    elements: ElementTable
    statistics_by_head: dict[str, Statistics]

    @property
    def statistics(self) -> Statistics:
        """Statistics of the only head."""
        (statistics,) = self.statistics_by_head.values()
        return statistics

    @property
    def avg_num_neighbors(self) -> float:
        """Mean number of neighbors in the training frames of all heads."""
        return mean_neighbors(self.statistics_by_head)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads, in the model's order."""
        return tuple(self.statistics_by_head)


def load_training_data(
    sources: DataSources,
    stores: Mapping[SplitName, FrameStore | None],
    *,
    r_max: float,
    parent: Parent | None = None,
) -> TrainingData:
    """Split and count the frames, and log what was found.

    Args:
        sources: Where frames come from.
        stores: What `DataSources.open` gave for each split.
        r_max: Cutoff in Å, for the mean number of neighbors.
        parent: The model that training starts from, if any.

    Raises:
        ValueError: If no frame is left to train on, or none of a head, or a set holds an
            element that is not among the model's.
    """
    if parent is not None:
        sources.warn_of_settings_of(parent)
    store = stores["train"]
    assert store is not None, "data.train is always given"
    log_labels(store)
    split = sources.share_out(store)
    sets: dict[SplitName, FrameSet] = {}
    for name in SPLIT_NAMES:
        own = stores[name]
        if name == "train" or own is None:
            frames = FrameSet(store, getattr(split, name))
        else:
            frames = FrameSet.of_all(own)
            warn_of_files_in_both(store, own, name=name)
        sets[name] = frames.without_isolated_atoms()
    log_frames(sets, num_isolated=int(store.isolated.sum()))
    if not len(sets["train"]):
        raise ValueError(
            f"none of the {len(store)} frames of data.train is left to train on: "
            f"{len(sets['valid'])} validate, {len(sets['test'])} are the test, and "
            "isolated atoms only give E0s"
        )
    require_trained_heads(store, split.train, sources.heads)
    elements = choose_elements(
        sources.elements, store, sets, of_parent=parent and parent.elements
    )
    if parent is not None:
        elements = parent.kept_elements(
            {int(n) for s in stores.values() if s for n in s.atomic_numbers}
        )
    if parent is not None and parent.statistics is not None:
        statistics = parent.statistics_of(elements)
    else:
        statistics = compute_head_statistics(
            store, split.train, elements=elements, r_max=r_max, e0s=sources.e0s_by_head
        )
        log_statistics(statistics)
    order = make_order(sources.mixing, count_by_set(store, sets["train"].indices))
    if sources.mixing == "even" and len(sources.train) == 1:
        logger.warning("data.mixing=even has no effect: data.train is one set")
    return TrainingData(store, split, sets, order, elements, statistics)
