"""`StepSampler`: training steps on a copy of the model, on real frames, timed and weighed.

Floor 4. The model itself, its gradients and the random numbers stay as they are.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches
from mace_train.training.step_costs import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int

    from mace_train.data.dataset import GraphDataset
    from mace_train.model.mace import MACE
    from mace_train.training.loss import Loss
    from mace_train.training.memory import MemoryGauge
    from mace_train.training.optim import Optimizer

_CANDIDATES = 5000
_OVERSHOOT = 1.2


class StepSampler:
    """Takes training steps on a copy of a model; the model itself stays as it is.

    Args:
        model: With its weights, on any device.
        loss: As in training.
        optimizer: As in training; its learning rate is 0 here, which costs as much.
        dataset: Training frames.
        edge_counts: Directed edges of each.
        device: Where to compute.
        gauge: Of the device's memory.
        seed: Of the choice of frames.
        num_timings: Steps at each size, of which the fastest counts, besides the one that
            is weighed; 0: only memory is of interest.
    """

    def __init__(
        self,
        model: MACE,
        loss: Loss,
        *,
        optimizer: Optimizer,
        dataset: GraphDataset | Sequence[AtomicGraph],
        edge_counts: Int[np.ndarray, " frames"],
        device: torch.device,
        gauge: MemoryGauge,
        seed: int = 0,
        num_timings: int = 2,
    ) -> None:
        self._model = copy.deepcopy(model).to(device).train()
        self._model.zero_grad()
        self._loss = loss
        self._settings = optimizer
        self._optimizer = optimizer.build(self._model)
        for group in self._optimizer.param_groups:
            group["lr"] = 0.0
        self._dataset = dataset
        self._edge_counts = edge_counts
        self._device = device
        self._gauge = gauge
        self._num_timings = num_timings
        self._graphs: list[AtomicGraph] = []
        self._order = dict.fromkeys(_from_the_median(edge_counts, seed=seed))
        self._warm = False

    def __call__(self, edges: int) -> Sample:
        """Steps on frames of about so many edges in all, and at least one frame."""
        with torch.random.fork_rng(enabled=True):
            graph, loading_per_edge = self._batch(edges)
            if not self._warm:
                self._step(graph)
                self._warm = True
            before = self._gauge.begin()
            steps = [self._step(graph)]
            peak = self._gauge.peak()
            steps += [self._step(graph) for _ in range(self._num_timings)]
            return Sample(
                edges=graph.num_edges,
                gradient_seconds=min(step[0] for step in steps),
                optimizer_seconds=min(step[1] for step in steps),
                validation_seconds=self._validate(graph) if self._num_timings else 0.0,
                loading_seconds=loading_per_edge * graph.num_edges,
                bytes_before=before,
                peak_bytes=peak,
            )

    def _batch(self, edges: int) -> tuple[AtomicGraph, float]:
        """A micro-batch, and seconds an edge that it took to make it."""
        held = sum(graph.num_edges for graph in self._graphs)
        begin, known = self._now(), held
        for place in list(self._order):
            if held >= edges and self._graphs:
                break
            if self._graphs and held + self._edge_counts[place] > _OVERSHOOT * edges:
                continue
            self._graphs.append(self._dataset[place])
            held += self._graphs[-1].num_edges
            del self._order[place]
        reading = (self._now() - begin) / max(held - known, 1)
        begin = self._now()
        times = max(1, edges // max(held, 1))  # few frames are taken several times
        share = MicroBatches.of(AtomicGraph.batch(self._graphs * times))
        (graph,) = share.to(self._device)
        return graph, reading + (self._now() - begin) / max(graph.num_edges, 1)

    def _step(self, graph: AtomicGraph) -> tuple[float, float]:
        """Seconds of the gradient and of the optimizer."""
        begin = self._now()
        for parameter in self._model.parameters():
            parameter.grad = None
        self._total(graph).backward()
        middle = self._now()
        self._settings.clip(self._model)
        self._optimizer.step()
        return middle - begin, self._now() - middle

    def _validate(self, graph: AtomicGraph) -> float:
        self._model.eval()
        begin = self._now()
        self._total(graph, all_properties=True)
        seconds = self._now() - begin
        self._model.train()
        return seconds

    def _total(self, graph: AtomicGraph, *, all_properties: bool = False) -> torch.Tensor:
        prediction = self._model(
            graph,
            compute_forces=all_properties or self._loss.forces_weight > 0,
            compute_stress=all_properties or self._loss.stress_weight > 0,
        )
        return self._loss(prediction, graph)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _from_the_median(edge_counts: Int[np.ndarray, " frames"], *, seed: int) -> list[int]:
    """Places of frames: one of median size, then others at random."""
    places = np.random.default_rng(seed).permutation(len(edge_counts))[:_CANDIDATES]
    by_size = places[np.argsort(edge_counts[places], kind="stable")]
    median = int(by_size[len(by_size) // 2])
    return [median, *(int(place) for place in places if place != median)]
