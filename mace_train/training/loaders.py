"""Loaders: each rank's share of every global batch, built by worker processes.

Floor 4. A loader knows nothing of training; where a run goes on in mid-epoch, the sampler
is told how many batches are done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.utils.data import DataLoader

from mace_train.data.parallel import num_cores
from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches
from mace_train.training.interruption import leave_signals_to_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lightning

    from mace_train.data.dataset import GraphDataset
    from mace_train.data.sampler import BatchSampler


@dataclass(frozen=True)
class ShareCollate:
    """Joins the graphs of a share and cuts it into micro-batches.

    Args:
        max_edges: The most directed edges of a micro-batch; None: a share is not cut.
    """

    max_edges: int | None = None

    def __call__(self, graphs: Sequence[AtomicGraph]) -> MicroBatches:
        """A rank's share, perhaps of no structure."""
        if not graphs:
            return MicroBatches()
        return MicroBatches.of(AtomicGraph.batch(graphs), max_edges=self.max_edges)


def make_loader(
    dataset: GraphDataset | Sequence[AtomicGraph],
    sampler: BatchSampler,
    *,
    max_edges: int | None = None,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[MicroBatches]:
    """A loader of a rank's shares.

    Args:
        dataset: Graphs.
        sampler: Says which of them make up each share.
        max_edges: The most directed edges of a micro-batch; None: a share is not cut.
        num_workers: Processes that build graphs, one thread each; 0: none.
        pin_memory: Whether to copy to page-locked memory, for a GPU.
    """
    return DataLoader(
        dataset,  # type: ignore[arg-type] - a sequence will do
        batch_sampler=sampler,
        collate_fn=ShareCollate(max_edges),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=leave_signals_to_rank,
        # Workers' seeds come from here, so that the global random numbers stay as they are.
        generator=torch.Generator().manual_seed(sampler.seed),
    )


def runs_on_gpu(trainer: lightning.Trainer | None) -> bool:
    """Whether the batches go to a GPU."""
    return trainer is not None and trainer.strategy.root_device.type == "cuda"


def choose_num_workers(
    asked: int | Literal["auto"], trainer: lightning.Trainer | None
) -> int:
    """Processes of a rank that build graphs; ``auto`` is none on a CPU, which is busy."""
    if asked != "auto":
        return int(asked)
    if trainer is None or not runs_on_gpu(trainer):
        return 0
    return max(1, min(8, num_cores() // trainer.num_devices - 1))
