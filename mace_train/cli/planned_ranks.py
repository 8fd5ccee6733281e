"""`PlannedRanks`: the processes of a run that is yet to be started, here or elsewhere.

Floor 6. Unlike the trainer's settings it refuses nothing: on a login node there are neither
the GPUs nor the tasks that a run asks for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from mace_train.cli.construction import construct
from mace_train.cli.submit import is_submission
from mace_train.training.launch import job_shape


@dataclass(frozen=True)
class PlannedRanks:
    """Processes of the run, here or elsewhere.

    Attributes:
        per_node: On each machine.
        num_nodes: Machines.
        on_gpus: Whether each has a GPU.
        are_counted: Whether somebody said how many; else it is what this machine has.
    """

    per_node: int
    num_nodes: int
    on_gpus: bool
    are_counted: bool

    @classmethod
    def of(cls, config: dict[str, Any]) -> PlannedRanks:
        """Those that ``submit``, the trainer, or srun and torchrun tell."""
        if is_submission(config):
            job = construct(config["submit"])
            return cls(job.tasks, job.nodes, job.on_gpus, True)
        trainer, here = config["trainer"], torch.cuda.is_available()
        wanted = trainer["accelerator"]
        on_gpus = wanted == "gpu" or (wanted == "auto" and here)
        started = job_shape(os.environ)
        counted = started is not None or trainer["devices"] != "auto"
        per_node, num_nodes = started or (1, 1)
        if started is None and on_gpus and here:
            per_node, counted = torch.cuda.device_count(), True
        if trainer["devices"] != "auto":
            per_node = trainer["devices"]
        if trainer["num_nodes"] != "auto":
            num_nodes = trainer["num_nodes"]
        return cls(per_node, num_nodes, on_gpus, counted or not on_gpus)

    @property
    def total(self) -> int:
        """On all machines."""
        return self.per_node * self.num_nodes

    @property
    def device(self) -> torch.device:
        """Where to measure here."""
        gpu = self.on_gpus and torch.cuda.is_available()
        return torch.device("cuda" if gpu else "cpu")

    @property
    def lack_their_gpus(self) -> bool:
        """Whether the run is for GPUs and this machine has none."""
        return self.on_gpus and self.device.type == "cpu"
