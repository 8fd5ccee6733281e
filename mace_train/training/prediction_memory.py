"""How many edges a batch may have when a model only predicts: ``data.max_edges=auto``.

Floor 4. As many as fit into memory, but not more than make predictions faster.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from mace_train.graph import AtomicGraph
from mace_train.training.estimate import SAFETY
from mace_train.training.memory import memory_gauge
from mace_train.training.prediction_plan import LEAST_EDGES
from mace_train.training.step_costs import Costs, Sample, grow_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mace_train.data.dataset import GraphDataset
    from mace_train.model.mace import MACE

logger = logging.getLogger(__name__)

ENOUGH_ON_CPU = 50_000
"""Edges beyond which a batch makes nothing faster on one core: the small MACE-MP-0 predicts
101,000 edges/s of MPtrj in batches of 1,000, 124,000 of 10,000, 133,000 of 50,000 and
133,000 of 200,000."""

_ENOUGH_ON_GPU = 500_000
_SECONDS = 1.0


def choose_max_edges(
    models: Sequence[MACE],
    dataset: GraphDataset,
    *,
    device: torch.device,
    num_processes: int = 1,
) -> int:
    """The number for ``data.max_edges=auto``.

    Args:
        models: On the device and in evaluation mode.
        dataset: Frames to try, of which there is one at least.
        device: Where to compute.
        num_processes: Processes that predict at the same time and share the memory.

    Raises:
        ValueError: If there is no memory for a single frame.
    """
    enough = ENOUGH_ON_CPU if device.type == "cpu" else _ENOUGH_ON_GPU
    edge_counts = dataset.store.edge_counts(dataset.r_max)[dataset.indices]
    if int(edge_counts.sum()) <= min(enough, LEAST_EDGES) // 10:
        return enough  # so little takes no memory to speak of
    gauge = memory_gauge(device)
    room = gauge.room(num_processes)
    sampler = _PredictionSampler(models, dataset, edge_counts, device=device)
    samples = grow_samples(
        sampler,
        first=max(int(np.median(edge_counts)), 1),
        most=enough // 2,
        seconds=_SECONDS,
        max_bytes=None if room is None else room.num_bytes,
    )
    memory = Costs.of(samples).memory
    if memory is None or room is None:
        logger.info("data.max_edges=auto: %d (the memory is not known here)", enough)
        return enough
    left = SAFETY * room.num_bytes - memory.fixed
    if left <= memory.per_edge * int(np.median(edge_counts)):
        raise ValueError(
            f"there is no memory to predict a frame: of {room.num_bytes / 1e9:.2f} GB "
            f"({room.source}) the process takes {memory.fixed / 1e9:.2f} GB already; free "
            "some, or start fewer processes with workers=1"
        )
    number = int(min(enough, left / max(memory.per_edge, 1.0)))
    logger.info(
        "data.max_edges=auto: %d (%.1f kB an edge, %.0f %% of %.2f GB may be filled, %s)",
        number,
        memory.per_edge / 1e3,
        100 * SAFETY,
        room.num_bytes / 1e9,
        room.source,
    )
    return number


class _PredictionSampler:
    """Predicts batches of about a given size, timed and weighed."""

    def __init__(
        self,
        models: Sequence[MACE],
        dataset: GraphDataset,
        edge_counts: np.ndarray,
        *,
        device: torch.device,
    ) -> None:
        self._models = models
        self._dataset = dataset
        self._device = device
        self._gauge = memory_gauge(device)
        with_edges = np.flatnonzero(edge_counts)
        by_size = with_edges[np.argsort(edge_counts[with_edges], kind="stable")]
        middle = int(by_size[len(by_size) // 2])
        self._frame = dataset[middle]  # of median size, taken several times
        self._is_warm = False

    def __call__(self, edges: int) -> Sample:
        """Predict once, or twice where the first time may compile something."""
        copies = max(1, edges // max(self._frame.num_edges, 1))
        graph = AtomicGraph.batch([self._frame] * copies).with_tables()
        graph = graph.to(self._device)
        if not self._is_warm:
            self._predict(graph)
            self._is_warm = True
        before = self._gauge.begin()
        begin = time.perf_counter()
        self._predict(graph)
        seconds = time.perf_counter() - begin
        return Sample(
            edges=graph.num_edges,
            gradient_seconds=seconds,
            optimizer_seconds=0.0,
            validation_seconds=seconds,
            loading_seconds=0.0,
            bytes_before=before,
            peak_bytes=self._gauge.peak(),
        )

    def _predict(self, graph: AtomicGraph) -> None:
        for model in self._models:
            with torch.no_grad():
                model(graph, compute_forces=True, compute_stress=True)
