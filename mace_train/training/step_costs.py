"""What training steps cost in time and memory, as straight lines through a few samples.

Floor 4. Sizes are tried from small to large: the memory of a process does not fall when
tensors are freed, so that a larger step would hide what a smaller one takes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_GROWTH = 2
_MOST_SIZES = 12
_LARGEST_SHARE = 0.5  # of the free memory: larger steps are not tried


@dataclass(frozen=True)
class Line:
    """A cost that grows with the edges of a micro-batch.

    Attributes:
        fixed: For any micro-batch.
        per_edge: For each directed edge.
    """

    fixed: float
    per_edge: float

    def at(self, edges: float | int) -> float:
        """The cost of one micro-batch."""
        return self.fixed + self.per_edge * edges


@dataclass(frozen=True)
class Sample:
    """What steps on one micro-batch took.

    Attributes:
        edges: Its directed edges.
        gradient_seconds: For predictions, loss and its gradient.
        optimizer_seconds: For clipping and the optimizer's step.
        validation_seconds: For predictions and loss alone.
        loading_seconds: To read the frames, find neighbors and make tables.
        bytes_before: Memory held before the step.
        peak_bytes: At most, in it; None: not known.
    """

    edges: int
    gradient_seconds: float
    optimizer_seconds: float
    validation_seconds: float
    loading_seconds: float
    bytes_before: int
    peak_bytes: int | None


@dataclass(frozen=True)
class Costs:
    """What micro-batches cost on a device; seconds and bytes.

    Attributes:
        gradient: Seconds of a micro-batch in training.
        optimizer_seconds: For each step.
        validation: Seconds of a micro-batch in validation.
        loading_per_edge: Seconds of one core.
        memory: Bytes held at most; None: it cannot be measured here.
        sizes: Edges of the batches that were measured.
    """

    gradient: Line
    optimizer_seconds: float
    validation: Line
    loading_per_edge: float
    memory: Line | None
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Costs:
        """Lines through samples, of which there is one at least."""
        edges = [sample.edges for sample in samples]
        weighed = [(s.edges, s.peak_bytes) for s in samples if s.peak_bytes is not None]
        memory = None
        if weighed:
            sizes, peaks = zip(*weighed)
            held = float(samples[0].bytes_before)
            over = fit_line(sizes, [max(peak - held, 0.0) for peak in peaks])
            memory = Line(held + over.fixed, over.per_edge)
        return cls(
            gradient=fit_line(edges, [sample.gradient_seconds for sample in samples]),
            optimizer_seconds=min(sample.optimizer_seconds for sample in samples),
            validation=fit_line(edges, [sample.validation_seconds for sample in samples]),
            loading_per_edge=sum(sample.loading_seconds for sample in samples) / sum(edges),
            memory=memory,
            sizes=tuple(edges),
        )


def fit_line(edges: Sequence[float | int], values: Sequence[float | int]) -> Line:
    """The line, nowhere negative, whose squared relative errors are smallest.

    >>> round(fit_line([100, 200, 400], [7.0, 9.0, 13.0]).at(1000), 6)
    25.0
    """
    x, y = np.asarray(edges, float), np.asarray(values, float)
    weight = 1 / np.maximum(y, 1e-3 * max(y.max(), 1e-30))
    columns = np.stack([np.ones_like(x), x], axis=1) * weight[:, None]
    if len(set(x.tolist())) > 1:
        fixed, per_edge = np.linalg.lstsq(columns, y * weight, rcond=None)[0].tolist()
        if fixed >= 0 and per_edge >= 0:
            return Line(fixed, per_edge)
        if per_edge < 0:
            return Line(float(y.mean()), 0.0)
    slope = columns[:, 1] @ (y * weight) / (columns[:, 1] @ columns[:, 1])
    return Line(0.0, float(slope))


def grow_samples(
    sample: Callable[[int], Sample],
    *,
    first: int,
    most: int | None,
    seconds: float | int,
    max_bytes: float | int | None,
    now: Callable[[], float] = time.perf_counter,
) -> list[Sample]:
    """Sample ever larger sizes, for about so many seconds.

    Args:
        sample: Takes a size in edges.
        first: The smallest size.
        most: Beyond this no size is of interest; None: no bound.
        seconds: No size is begun that would probably end later.
        max_bytes: Memory, half of which may be filled, beyond what is held; None: not
            known.
        now: The time in seconds.

    Raises:
        ValueError: If the smallest size does not fit into the memory of a GPU.
    """
    samples: list[Sample] = []
    began, edges = now(), first
    for _ in range(_MOST_SIZES):
        begin = now()
        try:
            samples.append(sample(edges))
        except torch.OutOfMemoryError:
            break
        took, last = now() - begin, samples[-1]
        edges = _GROWTH * max(last.edges, edges)
        if now() - began + _GROWTH * took > seconds:
            break
        if most is not None and edges > most and len(samples) > 1:
            break
        if max_bytes is not None and last.peak_bytes is not None:
            expected = _GROWTH * (last.peak_bytes - last.bytes_before)
            if expected > _LARGEST_SHARE * (max_bytes - last.bytes_before):
                break
    if not samples:
        raise ValueError(
            f"a step on {first} edges, a single frame, does not fit into the GPU's memory: "
            "use a smaller model, or a GPU that is free"
        )
    return samples
