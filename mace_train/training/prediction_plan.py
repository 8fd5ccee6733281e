"""Which frames are predicted together: consecutive ones, in groups bounded by edges.

Floor 4. A batch is what the model takes at once; a part, of one batch at least, is what is
kept when an evaluation is stopped. Frames stay in their order: sorting them by size makes
nothing faster, since a batch of graphs has no padding (MPtrj's frames with the small
MACE-MP-0 on one core: 133,000 edges/s in order, 129,000 sorted).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

LEAST_EDGES, MOST_EDGES = 100_000, 2_000_000
"""Bounds of a part, so that it takes seconds to a minute on one core."""

_FRAMES_IN_PART = 2000
_NUM_PARTS = 1000
_CALCULATED_AT_ONCE = 20  # frames: nobody knows how long a calculator takes


def cut_by_edges(
    edge_counts: Int[np.ndarray, " frames"],
    *,
    max_edges: int | None,
    max_frames: int | None = None,
) -> list[range]:
    """Consecutive frames in groups of at most so many edges; none is left out.

    A frame with more edges than that is a group of its own.

    Args:
        edge_counts: Directed edges of each frame.
        max_edges: None: no bound.
        max_frames: The most frames of a group; None: no bound.

    >>> cut_by_edges(np.array([3, 4, 9, 1, 1, 1]), max_edges=7, max_frames=2)
    [range(0, 2), range(2, 3), range(3, 5), range(5, 6)]
    """
    groups: list[range] = []
    first, load = 0, 0
    for place, edges in enumerate(edge_counts.tolist()):
        too_many_edges = max_edges is not None and load + edges > max_edges
        too_many_frames = max_frames is not None and place - first >= max_frames
        if place > first and (too_many_edges or too_many_frames):
            groups.append(range(first, place))
            first, load = place, 0
        load += edges
    if len(edge_counts):
        groups.append(range(first, len(edge_counts)))
    return groups


def model_parts(edge_counts: Int[np.ndarray, " frames"]) -> list[range]:
    """Parts for a model, about a thousand where there is enough to do.

    They depend on the frames alone, not on memory or the number of processes, so that an
    evaluation can go on on another machine.
    """
    share = int(edge_counts.sum()) // _NUM_PARTS
    max_edges = min(max(share, LEAST_EDGES), MOST_EDGES)
    return cut_by_edges(edge_counts, max_edges=max_edges, max_frames=_FRAMES_IN_PART)


def calculator_parts(num_frames: int) -> list[range]:
    """Parts for a calculator of any speed: twenty frames each.

    >>> calculator_parts(45)
    [range(0, 20), range(20, 40), range(40, 45)]
    """
    firsts = range(0, num_frames, _CALCULATED_AT_ONCE)
    return [range(first, min(first + _CALCULATED_AT_ONCE, num_frames)) for first in firsts]
