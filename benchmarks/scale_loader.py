"""How many graphs a second do two workers feed, and does memory stay flat over epochs?"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from process_memory import family_memory, own_memory

from mace_train.data.dataset import GraphDataset
from mace_train.data.sampler import BatchSampler
from mace_train.data.store import FrameStore
from mace_train.elements import MP0_ATOMIC_NUMBERS, ElementTable
from mace_train.training.loaders import make_loader

R_MAX, BATCH_SIZE, WORKERS, EPOCHS = 6.0, 16, 2, 10
FRAMES_PER_EPOCH = 4000


def measure_loader(folder: Path) -> dict[str, Any]:
    """Rate and memory of each epoch; frames of many shards in random order."""
    torch.set_num_threads(1)
    store = FrameStore(sorted(folder.glob("*.h5")))
    chosen = np.sort(np.random.default_rng(0).permutation(len(store))[:FRAMES_PER_EPOCH])
    elements = ElementTable(MP0_ATOMIC_NUMBERS)
    dataset = GraphDataset(store, chosen, elements=elements, r_max=R_MAX)
    costs = store.edge_counts(R_MAX)[chosen]
    sampler = BatchSampler(costs, batch_size=BATCH_SIZE)
    loader = make_loader(dataset, sampler, num_workers=WORKERS)
    rates, own_time, memory = [], [], []
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        begin, own = time.perf_counter(), time.process_time()
        num_frames = sum(share.num_graphs for share in loader)
        rates.append(num_frames / (time.perf_counter() - begin))
        own_time.append((time.process_time() - own) / num_frames)
        memory.append(own_memory())
    return {
        "workers": WORKERS,
        "batch_size": BATCH_SIZE,
        "r_max": R_MAX,
        "mean_edges": float(costs.mean()),
        "frames_a_second": rates,
        "main_process_us_a_frame": 1e6 * min(own_time),
        "own_MB": memory,  # of the main process and of each worker, epoch by epoch
        "whole_MB": family_memory(),
    }


if __name__ == "__main__":
    print(json.dumps(measure_loader(Path(sys.argv[1]))))
