"""`LaunchedRanks`: what Lightning asks about processes that srun or torchrun has started.

Floor 4. Lightning's own class for SLURM insists on variables that srun sets only with
certain options, takes a job's shell or batch script for a task, and requeues by itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment

from mace_train.training.launch import read_launch

if TYPE_CHECKING:
    from mace_train.training.launch import Launch


def cluster_environment() -> ClusterEnvironment:
    """How the processes of this run find each other; Lightning starts those of a machine.

    Raises:
        ValueError: If a variable of srun or torchrun is missing.
    """
    launch = read_launch(os.environ)
    return LightningEnvironment() if launch is None else LaunchedRanks(launch)


class LaunchedRanks(ClusterEnvironment):
    """Processes that are there already.

    Args:
        launch: Where this one stands.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__()
        self.launch = launch

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Where the processes meet."""
        return self.launch.address

    @property
    def main_port(self) -> int:
        """On which port."""
        return self.launch.port

    @staticmethod
    def detect() -> bool:
        """Whether there are such processes."""
        return read_launch(os.environ) is not None

    def world_size(self) -> int:
        """Processes in all."""
        return self.launch.num_ranks

    def set_world_size(self, size: int) -> None:
        """Lightning counts them too, and must come to the same."""
        assert size == self.launch.num_ranks

    def global_rank(self) -> int:
        """Rank of this process; on a node of SLURM they need not follow each other."""
        return self.launch.rank

    def set_global_rank(self, rank: int) -> None:
        """Lightning's guess is not needed."""

    def local_rank(self) -> int:
        """Rank of this process on its machine, and so the number of its GPU."""
        return self.launch.local_rank

    def node_rank(self) -> int:
        """Number of this machine."""
        return self.launch.node_rank
