"""`Workload`: the edges and micro-batches of every rank in every step of an epoch.

Floor 4. They are those of the sampler's own plan, so that what is said of a run before it
begins is what its ranks will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mace_train.data.sampler import BatchSampler

if TYPE_CHECKING:
    from jaxtyping import Int

    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.step_costs import Line

_FRAMES_LOOKED_AT = 50_000


@dataclass(frozen=True)
class Workload:
    """What each rank does in each step of an epoch.

    Attributes:
        edges: Directed edges.
        parts: Micro-batches.
        batch_size: Frames of a whole global batch.
        num_frames: Frames of the epoch.
    """

    edges: Int[np.ndarray, "steps ranks"]
    parts: Int[np.ndarray, "steps ranks"]
    batch_size: int
    num_frames: int

    @classmethod
    def of(cls, sampler: BatchSampler, *, max_edges: int | None = None) -> Workload:
        """The epoch that a sampler has planned.

        Args:
            sampler: Of any rank.
            max_edges: Bound of a micro-batch.
        """
        order, ranks = sampler.epoch_plan()
        shape = (len(order), sampler.world_size)
        edges, parts = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        load = np.zeros(shape, np.int64)  # of the micro-batch that is being filled
        for slot in range(order.shape[1]):
            rows = np.flatnonzero(ranks[:, slot] >= 0)
            rank, cost = ranks[rows, slot], sampler.costs[order[rows, slot]]
            edges[rows, rank] += cost
            is_full = parts[rows, rank] == 0
            if max_edges is not None:
                is_full |= load[rows, rank] + cost > max_edges
            parts[rows, rank] += is_full
            load[rows, rank] = np.where(is_full, cost, load[rows, rank] + cost)
        return cls(edges, parts, sampler.batch_size, sampler.num_slots)

    @property
    def num_steps(self) -> int:
        """Global batches of the epoch."""
        return len(self.edges)

    @property
    def balance(self) -> float:
        """Mean over largest load of the ranks, averaged over whole batches.

        1 is perfect: ranks finish together. At 0.5 half of the devices' time is waiting.
        """
        whole = max(self.num_frames // self.batch_size, 1)
        largest = self.edges[:whole].max(axis=1)
        return float((self.edges[:whole].mean(axis=1) / np.maximum(largest, 1)).mean())

    @property
    def largest_share(self) -> int:
        """Edges of the largest share of a rank."""
        return int(self.edges.max())

    @property
    def parts_per_step(self) -> float:
        """Micro-batches of the rank that has most, averaged over steps."""
        return float(self.parts.max(axis=1).mean())

    def seconds(
        self,
        line: Line,
        *,
        loading_per_edge: float = 0.0,
        num_workers: int = 0,
        each_step: float = 0.0,
    ) -> float:
        """Time of the epoch, where each step takes as long as its slowest rank.

        Args:
            line: Seconds of a micro-batch.
            loading_per_edge: Seconds of one core to make the batch.
            num_workers: Processes of each rank that do so meanwhile; 0: the rank itself.
            each_step: Seconds that every step takes besides.
        """
        computing = line.fixed * self.parts + line.per_edge * self.edges
        loading = loading_per_edge * self.edges
        slowest = (
            np.maximum(computing + each_step, loading / num_workers)
            if num_workers
            else computing + each_step + loading
        )
        return float(slowest.max(axis=1).sum())


def planned_samplers(
    datamodule: MACEDataModule, *, num_ranks: int
) -> tuple[BatchSampler, BatchSampler | None]:
    """Samplers of training and validation, for so many ranks; None: nothing to validate.

    Args:
        datamodule: After its setup.
        num_ranks: Processes that train together.
    """
    train = datamodule.sampler("train", num_ranks=num_ranks)
    if not len(datamodule.data.sets["valid"]):
        return train, None
    return train, datamodule.sampler("valid", num_ranks=num_ranks)


def largest_batch_per_rank(sampler: BatchSampler, max_edges: int) -> int:
    """The most frames a rank of which no share in an epoch has more edges than a bound.

    Of more than 50,000 frames, as many are looked at, the largest one among them.

    Args:
        sampler: Of the run; its batch size plays no role.
        max_edges: The bound.

    Returns:
        0 if a single frame is larger.
    """
    costs = sampler.costs
    if len(costs) > _FRAMES_LOOKED_AT:
        some = np.random.default_rng(0).choice(len(costs), _FRAMES_LOOKED_AT, replace=False)
        costs = np.append(costs[some], costs.max())
    if costs.max() > max_edges:
        return 0
    num_ranks = sampler.world_size
    by_mean = int(max_edges / max(costs.mean(), 1)) + 1  # some share has the mean at least
    fits, too_many = 0, min(-(-len(costs) // num_ranks), by_mean) + 1
    while too_many - fits > 1:
        frames = (fits + too_many) // 2
        planned = BatchSampler(
            costs, batch_size=frames * num_ranks, world_size=num_ranks, seed=sampler.seed
        )
        if Workload.of(planned).largest_share <= max_edges:
            fits = frames
        else:
            too_many = frames
    return fits
