"""How equally are edges shared among ranks, by dealing and by plain sampling?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mace_train.data.sampler import BatchSampler

RANKS = (1, 2, 4, 8, 16, 32, 64)
FRAMES_PER_RANK = (16, 4)
_SEED = 0


def measure_balance(edges: np.ndarray, *, num_frames: int) -> dict[str, Any]:
    """Mean over largest load, averaged over the batches of an epoch.

    Args:
        edges: Edges of the real frames.
        num_frames: How many frames are drawn from them.
    """
    costs = np.random.default_rng(_SEED).choice(edges, num_frames)
    return {
        f"{ranks} x {frames}": _one(costs, ranks, frames)
        for frames in FRAMES_PER_RANK
        for ranks in RANKS
    }


def _one(costs: np.ndarray, ranks: int, frames: int) -> dict[str, float]:
    sampler = BatchSampler(costs, batch_size=ranks * frames, world_size=ranks, seed=_SEED)
    begin = time.perf_counter()
    order, dealt = sampler.epoch_plan()
    seconds = time.perf_counter() - begin
    whole = len(costs) // sampler.batch_size  # the last batch may be smaller
    batch_costs = costs[order[:whole]]
    plain = batch_costs.reshape(whole, ranks, frames).sum(axis=2)
    loads = np.stack(
        [(batch_costs * (dealt[:whole] == rank)).sum(axis=1) for rank in range(ranks)],
        axis=1,
    )
    assert loads.sum() == batch_costs.sum(), "every frame is on one rank"
    return {
        "dealt": _balance(loads),
        "plain": _balance(plain),
        "largest_dealt": int(loads.max()),
        "largest_plain": int(plain.max()),
        "seconds": seconds,
    }


def _balance(loads: np.ndarray) -> float:
    return float((loads.mean(axis=1) / loads.max(axis=1)).mean())
