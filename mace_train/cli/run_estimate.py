"""``mace-train ... estimate=true``: what the run would take, printed instead of training.

Floor 6. It needs neither the ranks nor the GPUs of the run, so that it answers on a login
node too, and says what it could not know there. Where the run's folder is there already,
the numbers go to its ``estimate.json``.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mace_train.cli.arithmetic import denormals_flushed, threads_for
from mace_train.cli.command import is_first_rank
from mace_train.cli.construction import construct
from mace_train.cli.estimate_table import estimate_table
from mace_train.cli.planned_ranks import PlannedRanks
from mace_train.data.parallel import num_cores
from mace_train.model.backends import chosen_backend
from mace_train.training.estimate import (
    Estimate,
    TrainingFrames,
    capacity,
    measure,
    resolve_max_edges,
)
from mace_train.training.launch import read_launch
from mace_train.training.memory import MemoryRoom, memory_gauge
from mace_train.training.whole_file import write_whole
from mace_train.training.workload import planned_samplers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.module import MACEModule
    from mace_train.training.trainer import TrainerSettings

ESTIMATE_FILE = "estimate.json"


def estimate_run(
    config: dict[str, Any], datamodule: MACEDataModule, model: MACE
) -> dict[str, dict[str, Any]]:
    """Measure a few steps and print what the run will take; nothing is trained.

    Args:
        config: Plain values with the keys of ``configs/train.yaml``.
        datamodule: After its setup.
        model: With its initial weights.

    Returns:
        The numbers by name, under ``estimate``; nothing on ranks other than the first.

    Raises:
        ValueError: If a weighted label is missing, or a step does not fit into memory.
    """
    if not is_first_rank():
        return {}
    loss = construct(config["loss"])
    datamodule.check_labels(loss.weights)
    ranks = PlannedRanks.of(config)
    gauge = memory_gauge(ranks.device)
    room = gauge.room(ranks.per_node)
    with _as_in_training(config, model, ranks.device):
        costs = measure(
            model,
            loss,
            optimizer=construct(config["optim"]),
            frames=TrainingFrames.of(datamodule, num_ranks=ranks.total),
            device=ranks.device,
            room=room,
            gauge=gauge,
        )
        num_threads = torch.get_num_threads()
    fits = None if ranks.lack_their_gpus else capacity(costs, room)
    train, valid = planned_samplers(datamodule, num_ranks=ranks.total)
    max_edges = datamodule.max_edges
    if max_edges == "auto":
        max_edges = None if fits is None else fits.max_edges
    estimate = Estimate(
        costs=costs,
        train=train,
        valid=valid,
        max_epochs=config["trainer"]["max_epochs"],
        num_workers=_num_workers(config, ranks),
        max_edges=max_edges,
        capacity=fits,
    )
    numbers = _numbers(estimate, ranks, num_threads=num_threads, room=room)
    sys.stdout.write(estimate_table(estimate, ranks, numbers=numbers, room=room))
    folder = Path(config["run_dir"])
    if folder.is_dir():
        write_whole(folder / ESTIMATE_FILE, json.dumps(numbers, indent=2) + "\n")
    return {"estimate": numbers}


def set_max_edges(
    module: MACEModule, datamodule: MACEDataModule, settings: TrainerSettings
) -> None:
    """Give a run its number for ``data.max_edges=auto``; each rank has its own.

    Args:
        module: About to be trained.
        datamodule: After its setup.
        settings: Of the trainer.

    Raises:
        ValueError: If the memory cannot be measured here, or a step does not fit.
    """
    if datamodule.max_edges != "auto":
        return
    launch = read_launch(os.environ)
    local_rank = launch.local_rank if launch else int(os.environ.get("LOCAL_RANK", "0"))
    found = resolve_max_edges(
        module.model,
        module.loss,
        optimizer=module.optimizer,
        frames=TrainingFrames.of(datamodule, num_ranks=settings.num_ranks),
        device=torch.device("cuda", local_rank) if settings.on_gpu else torch.device("cpu"),
        num_processes=settings.num_processes,
    )
    datamodule.max_edges = module.gradient.max_edges = found


@contextmanager
def _as_in_training(
    config: dict[str, Any], model: MACE, device: torch.device
) -> Iterator[None]:
    """Threads and number formats of a run."""
    with threads_for(chosen_backend(model.backend, device)), denormals_flushed():
        if config["trainer"]["num_threads"] is not None:
            torch.set_num_threads(config["trainer"]["num_threads"])
        yield


def _num_workers(config: dict[str, Any], ranks: PlannedRanks) -> int:
    number = config["data"]["num_workers"]
    if number != "auto":
        return int(number)
    return max(1, min(8, num_cores() // ranks.per_node - 1)) if ranks.on_gpus else 0


def _numbers(
    estimate: Estimate, ranks: PlannedRanks, *, num_threads: int, room: MemoryRoom | None
) -> dict[str, Any]:
    """All that is known, for programs; what is not known is null."""
    costs, workload, fits = estimate.costs, estimate.workload, estimate.capacity
    is_known = not ranks.lack_their_gpus
    return {
        "measured_on": ranks.device.type,
        "measured_edges": list(costs.sizes),
        "num_ranks": ranks.total,
        "bytes_fixed": None if costs.memory is None else costs.memory.fixed,
        "bytes_per_edge": None if costs.memory is None else costs.memory.per_edge,
        "bytes_available": None if room is None else room.num_bytes,
        "max_edges": None if fits is None else fits.max_edges,
        "batch_size_per_rank": estimate.largest_batch_per_rank,
        "global_batch_size": workload.batch_size,
        "steps_per_epoch": workload.num_steps,
        "edges_per_epoch": int(workload.edges.sum()),
        "largest_share_edges": workload.largest_share,
        "balance": workload.balance,
        "micro_batches_per_step": workload.parts_per_step,
        "seconds_per_edge": costs.gradient.per_edge,
        "training_seconds_per_epoch": estimate.training_seconds,
        "validation_seconds_per_epoch": estimate.validation_seconds,
        "epochs": estimate.max_epochs,
        "hours": estimate.hours if is_known else None,
        "gpu_hours": estimate.rank_hours if is_known and ranks.on_gpus else None,
        "core_hours": None if ranks.on_gpus else estimate.rank_hours * num_threads,
    }
