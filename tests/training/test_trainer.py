"""The trainer that the settings make."""

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from pair_potential import Frames, make_frame

from mace_train.training.fitting import quiet_lightning
from mace_train.training.launched_ranks import LaunchedRanks
from mace_train.training.trainer import TrainerSettings

FRAMES = [make_frame(index) for index in range(6)]
CPU = {"accelerator": "cpu", "progress_bar": False}


def _frames():
    return Frames(FRAMES[:4], FRAMES[4:])


def _build(tmp_path, **options):
    with quiet_lightning():
        return TrainerSettings(**({"max_epochs": 2} | CPU | options)).build(tmp_path)


def test_one_process_trains_without_a_distributed_strategy(tmp_path):
    built = _build(tmp_path)
    assert isinstance(built.strategy, SingleDeviceStrategy)
    assert built.max_epochs == 2
    assert built.default_root_dir == str(tmp_path)
    assert built.loggers == []


def test_several_processes_on_the_cpu_talk_through_gloo(tmp_path):
    strategy = _build(tmp_path, devices=2).strategy
    assert isinstance(strategy, DDPStrategy)
    assert strategy._get_process_group_backend() == "gloo"


def test_several_nodes_train_together_even_with_one_process_each(tmp_path, monkeypatch):
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", "NODE_RANK": "0"}
    for name, value in meeting.items():
        monkeypatch.setenv(name, value)
    assert isinstance(_build(tmp_path, num_nodes=2).strategy, DDPStrategy)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_auto_means_one_process_on_the_cpu_where_there_is_no_gpu(tmp_path):
    settings = TrainerSettings(max_epochs=1)
    assert not settings.on_gpu
    assert settings.num_processes == 1
    with pytest.raises(ValueError, match=r"use trainer\.accelerator=cpu"):
        TrainerSettings(max_epochs=1, accelerator="gpu").build(tmp_path)


def test_the_number_of_threads_is_set(tmp_path):
    before = torch.get_num_threads()
    try:
        _build(tmp_path, num_threads=3)
        assert torch.get_num_threads() == 3
        _build(tmp_path)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_processes_and_machines_are_those_of_the_job(tmp_path, monkeypatch):
    place = {"STEP_ID": 0, "PROCID": 5, "LOCALID": 1, "NODEID": 1, "JOB_ID": 77}
    job = {"NTASKS": 8, "JOB_NUM_NODES": 2, "JOB_NODELIST": "a,b", "JOB_NAME": "train"}
    for name, value in (place | job).items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    settings = TrainerSettings(max_epochs=1, launcher="srun", **CPU)
    counts = (settings.num_processes, settings.num_machines, settings.num_ranks)
    assert counts == (4, 2, 8)
    environment = _build(tmp_path)._accelerator_connector.cluster_environment
    assert isinstance(environment, LaunchedRanks), "which does not requeue by itself"
    assert environment.global_rank() == 5
    with pytest.raises(ValueError, match=r"srun started 8 .* ask for 4"):
        _build(tmp_path, devices=2)


def test_a_trainer_for_slurm_is_refused_where_srun_did_not_start_it(tmp_path):
    with pytest.raises(ValueError, match=r"SLURM_STEP_ID .* is not set"):
        _build(tmp_path, launcher="srun")
