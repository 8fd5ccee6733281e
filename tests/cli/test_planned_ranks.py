import os

import pytest
import torch

from mace_train.cli.config import compose
from mace_train.cli.planned_ranks import PlannedRanks


@pytest.fixture(autouse=True)
def lone_start_on_a_machine_without_gpus(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def planned(*overrides):
    return PlannedRanks.of(compose("train", overrides))


def test_one_process_is_planned_on_a_cpu_if_nothing_is_said():
    ranks = planned()
    assert (ranks.total, ranks.on_gpus, ranks.are_counted) == (1, False, True)
    assert not ranks.lack_their_gpus


def test_the_trainer_tells_devices_and_machines():
    ranks = planned("trainer.devices=4", "trainer.num_nodes=3", "trainer.accelerator=gpu")
    assert (ranks.per_node, ranks.num_nodes, ranks.total) == (4, 3, 12)
    assert ranks.lack_their_gpus
    assert ranks.device == torch.device("cpu")
    assert ranks.are_counted


def test_gpus_that_nobody_counted_are_said_to_be_so():
    ranks = planned("trainer=slurm")
    assert (ranks.total, ranks.are_counted) == (1, False)


def test_a_job_that_is_to_be_submitted_tells_its_ranks():
    job = ["submit=slurm", "submit.nodes=5", "submit.gpus_per_node=8"]
    ranks = planned(*job, "data.batch_size=80")
    assert (ranks.per_node, ranks.total, ranks.on_gpus) == (8, 40, True)


def test_ranks_that_were_started_count(monkeypatch):
    values = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 6, "LOCAL_WORLD_SIZE": 2}
    more = {"MASTER_ADDR": "host", "MASTER_PORT": 1, "GROUP_RANK": 0, "NODE_RANK": 0}
    for name, value in (values | more).items():
        monkeypatch.setenv(name, str(value))
    ranks = planned()
    assert (ranks.per_node, ranks.num_nodes) == (2, 3)


def test_all_gpus_of_this_machine_are_planned_if_there_are_some(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    ranks = planned()
    assert (ranks.total, ranks.on_gpus, ranks.are_counted) == (2, True, True)
    assert ranks.device == torch.device("cuda")
    assert not ranks.lack_their_gpus
