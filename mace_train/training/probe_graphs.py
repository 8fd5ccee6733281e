"""Training frames that travel with a model file: its probe frames, as graphs.

Floor 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mace_train.checkpoints.probes import choose_probe_frames

if TYPE_CHECKING:
    from mace_train.data.dataset import GraphDataset
    from mace_train.graph import AtomicGraph

PROBE_CANDIDATES = 20_000
"""So many frames are looked at."""


def choose_probe_graphs(graphs: GraphDataset, count: int) -> list[AtomicGraph]:
    """At most ``count`` graphs that cover the elements and sizes.

    Args:
        graphs: Candidates.
        count: May be 0.
    """
    frames = [graphs.store.frame(int(index)) for index in graphs.indices] if count else []
    chosen = choose_probe_frames([frame.atomic_numbers for frame in frames], count)
    return [graphs[place] for place in chosen]
