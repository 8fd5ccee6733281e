"""The trainer's settings, and what `fit` refuses."""

import logging
import warnings

import pytest
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from pair_potential import Frames, make_frame, make_module, train

from mace_train.training import trainer
from mace_train.training.callbacks import EpochCallback
from mace_train.training.trainer import TrainerSettings, fit, quiet_lightning

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
    assert strategy._ddp_kwargs["find_unused_parameters"] is False


def test_several_nodes_train_together_even_with_one_process_each(tmp_path):
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


def test_under_slurm_lightning_does_not_requeue_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_LOCALID", "0")
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NODEID", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    environment = _build(tmp_path)._accelerator_connector.cluster_environment
    assert isinstance(environment, SLURMEnvironment)
    assert environment.auto_requeue is False


def test_a_checkpoint_beyond_the_last_epoch_is_refused(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=3)
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(ValueError, match=r"3 epochs, more than trainer\.max_epochs=2"):
        train(make_module(), _frames(), tmp_path, max_epochs=2, checkpoint=last)


def test_metrics_reach_the_loggers(tmp_path):
    log = CSVLogger(tmp_path / "log")
    settings = TrainerSettings(max_epochs=2, **CPU)
    fit(make_module(), _frames(), settings=settings, run_dir=tmp_path, loggers=[log])
    (path,) = (tmp_path / "log").rglob("metrics.csv")
    header, *rows = path.read_text().splitlines()
    assert {"epoch", "train/loss", "valid/loss", "valid/forces_mae", "lr"} <= set(
        header.split(",")
    )
    assert len(rows) == 2


def test_lightning_is_quiet_during_a_run_and_as_before_after_it():
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    with quiet_lightning():
        assert not log.isEnabledFor(logging.WARNING)
        warnings.warn("a loader may be slow", PossibleUserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="important"):
            warnings.warn("important", UserWarning, stacklevel=1)
    assert log.level == level


@pytest.mark.parametrize(
    "message",
    [
        "`broadcast_buffers` is deprecated. Use `forward_sync_buffers` instead.",
        "Grad strides do not match bucket view strides.",
    ],
)
def test_what_distributed_training_says_of_our_choices_is_kept_back(message):
    with quiet_lightning():
        warnings.warn(message, UserWarning, stacklevel=1)


class _Precision(EpochCallback):
    """Takes note of the precision of float32 products while a run trains."""

    def on_train_start(self, trainer, pl_module):
        self.during = torch.get_float32_matmul_precision()


def _precision(tmp_path, **options):
    noted = _Precision()
    settings = TrainerSettings(max_epochs=1, **(CPU | options))
    fit(make_module(), _frames(), settings=settings, run_dir=tmp_path, callbacks=[noted])
    return noted.during, torch.get_float32_matmul_precision()


def test_tf32_is_for_gpus_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    assert _precision(tmp_path, tf32=True) == ("highest", "highest")
    assert "trainer.tf32 changes nothing on a CPU" in caplog.messages


@pytest.mark.parametrize(("tf32", "expected"), [(True, "high"), (False, "highest")])
def test_tf32_lasts_as_long_as_the_run_on_a_gpu(tf32, expected, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="mace_train")
    monkeypatch.setattr(TrainerSettings, "on_gpu", True)
    with trainer._float32_products(TrainerSettings(max_epochs=1, tf32=tf32)):
        assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == "highest"
    assert any("TF32" in message for message in caplog.messages) is tf32
