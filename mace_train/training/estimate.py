"""What a run will take in memory, hours and devices, told before it begins.

Floor 4. `measure` takes a few steps on real frames; an `Estimate` puts what they cost
together with the sampler's plan of an epoch. Communication is not in it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mace_train.training.memory import MemoryGauge, MemoryRoom, memory_gauge
from mace_train.training.step_costs import Costs, grow_samples
from mace_train.training.step_sampler import StepSampler
from mace_train.training.workload import Workload, largest_batch_per_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from jaxtyping import Int

    from mace_train.data.dataset import GraphDataset
    from mace_train.data.sampler import BatchSampler
    from mace_train.graph import AtomicGraph
    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.loss import Loss
    from mace_train.training.optim import Optimizer

logger = logging.getLogger(__name__)

SAFETY = 0.8
"""Share of the memory that is used: allocators leave gaps, and others may want some."""
EXTRAPOLATION = 32
"""No size beyond this times the largest one measured is promised."""
GOOD_BALANCE = 0.95


@dataclass(frozen=True)
class TrainingFrames:
    """Frames to measure with.

    Attributes:
        dataset: Their graphs.
        edge_counts: Directed edges of each.
        per_rank: How many of them are a rank's share of a step.
    """

    dataset: GraphDataset | Sequence[AtomicGraph]
    edge_counts: Int[np.ndarray, " frames"]
    per_rank: int

    @classmethod
    def of(cls, datamodule: MACEDataModule, *, num_ranks: int) -> TrainingFrames:
        """Those of a data module after its setup, dealt to so many ranks."""
        dataset = datamodule.dataset("train")
        assert dataset is not None, "setup refuses a run without training frames"
        counts = dataset.store.edge_counts(dataset.r_max)[dataset.indices]
        return cls(dataset, counts, -(-datamodule.batch_size_of(num_ranks) // num_ranks))


@dataclass(frozen=True)
class Capacity:
    """The largest micro-batch that is safe.

    Attributes:
        max_edges: Its directed edges.
        is_measured_bound: Whether memory would allow more than was extrapolated to.
    """

    max_edges: int
    is_measured_bound: bool


def measure(
    model: MACE,
    loss: Loss,
    *,
    optimizer: Optimizer,
    frames: TrainingFrames,
    device: torch.device,
    room: MemoryRoom | None,
    gauge: MemoryGauge | None = None,
    seconds: float = 12.0,
    only_memory: bool = False,
) -> Costs:
    """Take steps of growing size for about so many seconds.

    Weights, gradients and random numbers are afterwards what they were.

    Args:
        model: With its initial weights.
        loss: As in training.
        optimizer: As in training.
        frames: Of the training set.
        device: Where to compute.
        room: Memory that may be filled.
        gauge: Of the device; None: the right one.
        seconds: On a CPU a first use of the compiled kernels may add to it.
        only_memory: Whether the times are of no interest.

    Raises:
        ValueError: If a single frame does not fit into the memory of a GPU.
    """
    sampler = StepSampler(
        model,
        loss,
        optimizer=optimizer,
        dataset=frames.dataset,
        edge_counts=frames.edge_counts,
        device=device,
        gauge=gauge or memory_gauge(device),
        num_timings=0 if only_memory else 2,
    )
    share = frames.per_rank * float(frames.edge_counts.mean())
    on_cpu = device.type == "cpu"  # a GPU is quick enough to see how much fits
    samples = grow_samples(
        sampler,
        first=max(int(np.median(frames.edge_counts)), 1),
        most=max(int(2 * share), int(frames.edge_counts.max())) if on_cpu else None,
        seconds=seconds,
        max_bytes=None if room is None else room.num_bytes,
    )
    return Costs.of(samples)


def capacity(costs: Costs, room: MemoryRoom | None) -> Capacity | None:
    """The largest micro-batch that is safe in a room; None where memory is not known.

    Raises:
        ValueError: If nothing fits.
    """
    if costs.memory is None or room is None:
        return None
    bound = EXTRAPOLATION * max(costs.sizes)
    left = SAFETY * room.num_bytes - costs.memory.fixed
    if left <= 0:
        raise ValueError(
            f"there is no memory for a step: of {room.num_bytes / 1e9:.2f} GB "
            f"({room.source}) the process takes {costs.memory.fixed / 1e9:.2f} GB already; "
            "free some, or start fewer processes on this machine (trainer.devices)"
        )
    if costs.memory.per_edge * bound <= left:
        return Capacity(bound, is_measured_bound=True)
    return Capacity(max(int(left / costs.memory.per_edge), 1), is_measured_bound=False)


def resolve_max_edges(
    model: MACE,
    loss: Loss,
    *,
    optimizer: Optimizer,
    frames: TrainingFrames,
    device: torch.device,
    num_processes: int,
    seconds: float = 1.5,
) -> int:
    """The number for ``data.max_edges=auto``: as many edges as fit into memory.

    No result depends on micro-batches, so each rank takes the number that its own memory
    gives; there is no communication in here.

    Args:
        model: As it is to be trained; it stays as it is.
        loss: As in training.
        optimizer: As in training.
        frames: Of the training set.
        device: Of this rank.
        num_processes: Processes on this machine, which share its memory on a CPU.
        seconds: To measure.

    Raises:
        ValueError: If the memory cannot be measured here, or nothing fits.
    """
    gauge = memory_gauge(device)
    room = gauge.room(num_processes)
    costs = measure(
        model,
        loss,
        optimizer=optimizer,
        frames=frames,
        device=device,
        room=room,
        gauge=gauge,
        seconds=seconds,
        only_memory=True,
    )
    found = capacity(costs, room)
    if found is None or room is None or costs.memory is None:
        raise ValueError(
            "data.max_edges=auto, but the memory that a step takes cannot be measured on "
            "this system: set data.max_edges to a number, or to null"
        )
    logger.info(
        "data.max_edges=auto: %d (%.0f kB an edge and %.2f GB besides, in %.0f %% of %.2f "
        "GB, %s%s)",
        found.max_edges,
        costs.memory.per_edge / 1e3,
        costs.memory.fixed / 1e9,
        100 * SAFETY,
        room.num_bytes / 1e9,
        room.source,
        f"; not more than {EXTRAPOLATION} times what was measured"
        if found.is_measured_bound
        else "",
    )
    return found.max_edges


@dataclass(frozen=True)
class Estimate:
    """What a run takes; times in seconds.

    Attributes:
        costs: Of micro-batches.
        train: Sampler of the training frames, for the configured ranks.
        valid: That of the validation frames; None: there are none.
        max_epochs: Epochs of the whole run.
        num_workers: Loader processes of each rank.
        max_edges: Bound of micro-batches in the run; None: shares are not cut.
        capacity: What fits; None: not known.
    """

    costs: Costs
    train: BatchSampler
    valid: BatchSampler | None
    max_epochs: int
    num_workers: int = 0
    max_edges: int | None = None
    capacity: Capacity | None = None

    @property
    def num_ranks(self) -> int:
        """Processes that train together."""
        return self.train.world_size

    @cached_property
    def workload(self) -> Workload:
        """Of a training epoch."""
        return Workload.of(self.train, max_edges=self.max_edges)

    @cached_property
    def training_seconds(self) -> float:
        """Of an epoch's steps."""
        return self.workload.seconds(
            self.costs.gradient,
            loading_per_edge=self.costs.loading_per_edge,
            num_workers=self.num_workers,
            each_step=self.costs.optimizer_seconds,
        )

    @cached_property
    def validation_seconds(self) -> float:
        """Of the validation after each epoch."""
        if self.valid is None:
            return 0.0
        return Workload.of(self.valid, max_edges=self.max_edges).seconds(
            self.costs.validation,
            loading_per_edge=self.costs.loading_per_edge,
            num_workers=self.num_workers,
        )

    @property
    def hours(self) -> float:
        """Of all epochs."""
        return self.max_epochs * (self.training_seconds + self.validation_seconds) / 3600

    @property
    def rank_hours(self) -> float:
        """Hours times ranks: GPU-hours, where each rank has a GPU."""
        return self.hours * self.num_ranks

    @cached_property
    def largest_batch_per_rank(self) -> int | None:
        """Frames a rank that fit without micro-batches; None where memory is not known."""
        if self.capacity is None:
            return None
        return largest_batch_per_rank(self.train, self.capacity.max_edges)

    def imbalance(self) -> str | None:
        """Why ranks wait for each other and what helps; None if they hardly do."""
        balance = self.workload.balance
        if balance >= GOOD_BALANCE:
            return None
        frames = self.workload.batch_size / self.num_ranks
        largest = int(self.train.costs.max())
        mean = float(self.train.costs.mean())
        return (
            f"ranks wait {100 * (1 - balance):.0f} % of the time: with {frames:.3g} frames "
            "a rank, the largest frame of a batch is often more than an equal share, and "
            f"one frame cannot be cut (largest {largest:,} edges, mean {mean:,.0f}). More "
            "frames a rank help: fewer ranks, or a larger data.batch_size, which changes "
            "the optimization"
        )
