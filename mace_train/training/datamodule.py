"""`MACEDataModule`: from the user's files to batches of graphs, on every rank.

Floor 4. `setup` needs no trainer, as the model is built from what it finds: elements and
statistics.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from mace_train.constraints import Fraction, NonNegativeInt, PositiveFloat, PositiveInt
from mace_train.data.dataset import GraphDataset
from mace_train.data.labels import EV_AND_ANGSTROM, LabelKey, LabelKeys, Units
from mace_train.data.mixing import Mixing
from mace_train.data.sampler import BatchSampler
from mace_train.data.split_file import write_split
from mace_train.data.split_units import SplitMethod
from mace_train.data.statistics import Statistics
from mace_train.data.store import FrameStore
from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches
from mace_train.training.data_sets import FileSpec, read_sets
from mace_train.training.frame_set import FrameSet
from mace_train.training.loaders import choose_num_workers, make_loader, runs_on_gpu
from mace_train.training.parent_model import Parent
from mace_train.training.position import go_on
from mace_train.training.probe_graphs import PROBE_CANDIDATES, choose_probe_graphs
from mace_train.training.required_labels import require_labels
from mace_train.training.training_data import (
    SPLIT_NAMES,
    DataSources,
    Progress,
    SplitName,
    TrainingData,
    load_training_data,
)

logger = logging.getLogger(__name__)


class MACEDataModule(LightningDataModule):
    """Frames, their splits and statistics, and loaders that share them among ranks.

    Args:
        train: A file, a folder, a glob or a list, of extended XYZ or of shards; ``sample``
            is the data set that comes with the package. Items of a list may be sets with
            weights and heads, see `SetConfig`.
        valid: The same for validation; None takes a fraction of every set of ``train``.
        test: The same for the test.
        replay: The same; fine-tuning joins them to ``train`` before.
        guard: The same for frames that tell what fine-tuning forgets.
        mixing: ``size``: every training frame once an epoch; ``even``: equally many frames
            of every set.
        valid_fraction: Share of ``train`` that validates, where ``valid`` is None.
        test_fraction: Share of ``train`` that is the test, where ``test`` is None.
        split: How frames are shared out; ``auto`` keeps groups, or blocks, together.
        split_file: A ``split.json`` written by another run.
        group_key: Key of the frame's group; ``auto`` is the known one that tells.
        seed: Of the split and of the order of frames.
        batch_size: Frames in the global batch.
        batch_size_per_rank: If set, the global batch is this times the ranks.
        max_edges: Bounds the directed edges of a micro-batch, so that memory does; a larger
            frame is one of its own. No result depends on it. ``auto``: as many as fit into
            memory; None: a rank's whole share at once.
        valid_batch_size: Frames a rank validates at a time; changes no result.
        elements: ``auto`` are those in ``train``, ``mp0`` the 89 of MACE-MP-0; or a list.
        e0s: ``least_squares``, ``isolated_atoms``, ``mp0``, or a JSON file (eV).
        energy_key: Name of the energy; ``auto``: the one known name, ``none``: left out.
        forces_key: The same for the forces.
        stress_key: The same for the stress.
        virials_key: Name of virials, from which the stress is made.
        units: Of the labels.
        max_force: In eV/Å; frames with a larger force are left out and counted.
        r_max: Cutoff of the graphs in Å.
        dtype: Floating-point type of the graphs.
        num_workers: Processes that build graphs; ``auto`` is none on a CPU, whose cores
            the model needs, and up to 8 beside a GPU.
        cache_dir: Folder of the prepared shards.
    """

    def __init__(
        self,
        *,
        train: FileSpec,
        r_max: PositiveFloat,
        valid: FileSpec | None = None,
        test: FileSpec | None = None,
        replay: FileSpec | None = None,
        guard: FileSpec | None = None,
        mixing: Mixing = "size",
        valid_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.0,
        split: SplitMethod = "auto",
        split_file: str | None = None,
        group_key: str = "auto",
        seed: NonNegativeInt = 0,
        batch_size: PositiveInt | None = 8,
        batch_size_per_rank: PositiveInt | None = None,
        max_edges: PositiveInt | Literal["auto"] | None = None,
        valid_batch_size: PositiveInt = 16,
        elements: Literal["auto", "mp0"] | Sequence[int | str] = "auto",
        e0s: str = "least_squares",
        energy_key: LabelKey = "auto",
        forces_key: LabelKey = "auto",
        stress_key: LabelKey = "auto",
        virials_key: str | None = None,
        units: Units = EV_AND_ANGSTROM,
        max_force: PositiveFloat | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        num_workers: NonNegativeInt | Literal["auto"] = "auto",
        cache_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.sources = DataSources(
            train=read_sets("data.train", train),
            valid=None if valid is None else read_sets("data.valid", valid),
            test=None if test is None else read_sets("data.test", test),
            guard=None if guard is None else read_sets("data.guard", guard),
            mixing=mixing,
            valid_fraction=valid_fraction,
            test_fraction=test_fraction,
            split=split,
            split_file=None if split_file is None else Path(split_file),
            group_key=group_key,
            seed=seed,
            elements=elements,
            e0s=e0s,
            keys=LabelKeys(
                energy=energy_key,
                forces=forces_key,
                stress=stress_key,
                virials=virials_key,
                energy_unit=units["energy"],
                length_unit=units["length"],
            ),
            max_force=max_force,
            cache_dir=None if cache_dir is None else Path(cache_dir),
        )
        self.r_max = r_max
        self.dtype = {"float32": torch.float32, "float64": torch.float64}[dtype]
        self.valid_batch_size = valid_batch_size
        self.max_edges: int | Literal["auto"] | None = max_edges
        self._batch_size, self._batch_size_per_rank = batch_size, batch_size_per_rank
        self._num_workers: int | Literal["auto"] = num_workers
        self._parent: Parent | None = None
        self._data: TrainingData | None = None
        self._stores: dict[SplitName, FrameStore | None] = {}
        if batch_size is None and batch_size_per_rank is None:
            raise ValueError("data.batch_size or data.batch_size_per_rank must be given")
        if replay is not None:
            raise ValueError("data.replay: frames are replayed in fine-tuning alone")

    def use_parent(self, parent: Parent, *, r_max: float) -> None:
        """Take elements, cutoff (Å) and statistics from the model to start from.

        Raises:
            ValueError: If the sets have other heads.
        """
        assert self._data is None, "use_parent comes before setup"
        self.sources.require_heads(list(parent.statistics or ()))
        self._parent = parent
        self.r_max = r_max

    def use_statistics(self, statistics: Mapping[str, Statistics]) -> None:
        """Replace the statistics by head, of the same elements."""
        self._data = replace(self.data, statistics_by_head=dict(statistics))

    def prepare_data(self, progress: Progress | None = None) -> None:
        """Write the shards of all sources into the cache, and tell ``progress``."""
        for name in SPLIT_NAMES if self._data is None else ():
            self._stores[name] = self.sources.open(
                name, r_max=self.r_max, progress=progress
            )

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - its hook
        """Open, split and count the frames; then splits, elements and statistics are there.

        Raises:
            ValueError: If there is nothing to train on, or an element of the data is not
                among the chosen ones.
        """
        if self._data is None:
            if not self._stores:
                self.prepare_data()
            self._data = load_training_data(
                self.sources, self._stores, r_max=self.r_max, parent=self._parent
            )

    @property
    def data(self) -> TrainingData:
        """Frames, splits, elements and statistics, after `setup`."""
        assert self._data is not None, "setup comes first"
        return self._data

    def check_labels(self, loss_weights: Mapping[str, float]) -> None:
        """Refuse a loss with a weighted term that no training frame has a label for.

        Heads trained from the beginning need labels each; in fine-tuning, frames to replay
        may have others than the user's.

        Raises:
            ValueError: Names the label and the override that drops its term.
        """
        of_each = self._parent is None
        require_labels(self.data.sets["train"], loss_weights, of_each_head=of_each)

    def write_split(self, run_dir: Path) -> None:
        """Write the ids of the split to ``run_dir/split.json``, for ``data.split_file``."""
        write_split(run_dir / "split.json", self.data.split, self.data.train_store)

    def dataset(self, name: SplitName) -> GraphDataset | None:
        """The graphs of one split, in its order; None if the split has no frames."""
        frames = self.data.sets[name]
        return self.graphs(frames) if len(frames) else None

    def train_sample(self, count: int) -> GraphDataset:
        """At most ``count`` training frames, always the same ones for a seed, in order."""
        frames = self.data.sets["train"]
        return self.graphs(frames.random_sample(count, seed=self.sources.seed))

    def probe_graphs(self, count: int) -> list[AtomicGraph]:
        """At most ``count`` training graphs that cover the elements and sizes."""
        return choose_probe_graphs(self.train_sample(PROBE_CANDIDATES), count)

    def train_dataloader(self) -> DataLoader[MicroBatches]:
        """Batches of this rank in an order of their own each epoch; no frame is dropped."""
        size = self.batch_size_of(self._world_size)
        asked = self._batch_size_asked(self._world_size)
        if asked > size:
            logger.warning("the global batch is cut from %d to all %d frames", asked, size)
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[MicroBatches] | list[DataLoader[MicroBatches]]:
        """This rank's share of the validation frames; on all ranks, each frame once."""
        if not len(self.data.sets["valid"]):
            return []
        return self._loader("valid")

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def batch_size_of(self, num_ranks: int) -> int:
        """Frames in the global batch of so many ranks, at most all training frames."""
        return min(self._batch_size_asked(num_ranks), len(self.data.sets["train"]))

    def _batch_size_asked(self, num_ranks: int) -> int:
        if self._batch_size_per_rank is not None:
            return self._batch_size_per_rank * num_ranks
        return self._batch_size or 0  # one of them is given

    def graphs(self, frames: FrameSet) -> GraphDataset:
        """Frames of one of our stores as graphs for the model."""
        return GraphDataset(
            frames.store,
            frames.indices,
            elements=self.data.elements,
            r_max=self.r_max,
            dtype=self.dtype,
        )

    def sampler(
        self, name: SplitName, *, rank: int = 0, num_ranks: int = 1
    ) -> BatchSampler:
        """Which frames of a split make up each global batch, and a rank's share of it."""
        frames, is_train = self.data.sets[name], name == "train"
        size = self.valid_batch_size * num_ranks
        return BatchSampler(
            frames.store.edge_counts(self.r_max)[frames.indices],
            batch_size=self.batch_size_of(num_ranks) if is_train else size,
            rank=rank,
            world_size=num_ranks,
            seed=self.sources.seed,
            shuffle=is_train,
            order=self.data.order if is_train else None,
        )

    def _loader(self, name: SplitName) -> DataLoader[MicroBatches]:
        rank = 0 if self.trainer is None else self.trainer.global_rank
        sampler = self.sampler(name, rank=rank, num_ranks=self._world_size)
        if name == "train" and self.trainer is not None:
            go_on(sampler, self.trainer)
        return make_loader(
            self.graphs(self.data.sets[name]),
            sampler,
            max_edges=None if self.max_edges == "auto" else self.max_edges,
            num_workers=choose_num_workers(self._num_workers, self.trainer),
            pin_memory=runs_on_gpu(self.trainer),
        )
