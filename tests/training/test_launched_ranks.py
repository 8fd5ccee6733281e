"""What Lightning is told about processes that are there already."""

import os

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from test_launch import SRUN, TORCHRUN

from mace_train.training.launched_ranks import LaunchedRanks, cluster_environment


@pytest.fixture
def _clean(monkeypatch):
    for name in os.environ:
        if name.startswith("SLURM") or name in TORCHRUN:
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("_clean")
@pytest.mark.parametrize(
    ("environ", "expected"),
    [(SRUN, (8, 5, 1, 1, "gpu07", 15417)), (TORCHRUN, (4, 3, 1, 1, "node1", 29500))],
    ids=["srun", "torchrun"],
)
def test_started_processes_are_taken_as_they_are(environ, expected, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ranks = cluster_environment()
    assert isinstance(ranks, LaunchedRanks)
    assert LaunchedRanks.detect()
    assert ranks.creates_processes_externally
    ranks.set_global_rank(99)
    ranks.set_world_size(expected[0])
    assert expected == (
        ranks.world_size(),
        ranks.global_rank(),
        ranks.local_rank(),
        ranks.node_rank(),
        ranks.main_address,
        ranks.main_port,
    )


@pytest.mark.usefixtures("_clean")
def test_otherwise_lightning_starts_processes_in_a_slurm_job_too(monkeypatch):
    assert isinstance(cluster_environment(), LightningEnvironment)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert isinstance(cluster_environment(), LightningEnvironment)
