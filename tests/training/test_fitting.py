"""What surrounds a training, and what `fit` refuses."""

import logging
import warnings

import pytest
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from pair_potential import Frames, make_frame, make_module, train

from mace_train.training import fitting
from mace_train.training.callbacks import EpochCallback
from mace_train.training.fitting import fit, quiet_lightning
from mace_train.training.trainer import TrainerSettings

FRAMES = [make_frame(index) for index in range(6)]
CPU = {"accelerator": "cpu", "progress_bar": False}


def _frames():
    return Frames(FRAMES[:4], FRAMES[4:])


def test_a_checkpoint_beyond_the_last_epoch_is_refused(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=3)
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(ValueError, match=r"3 epochs, more than trainer\.max_epochs=2"):
        train(make_module(), _frames(), tmp_path, max_epochs=2, checkpoint=last)


def test_metrics_reach_the_loggers(tmp_path, monkeypatch):
    # Lightning keeps the rank for the life of a process, in which other tests had others.
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)
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
    with fitting._float32_products(TrainerSettings(max_epochs=1, tf32=tf32)):
        assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == "highest"
    assert any("TF32" in message for message in caplog.messages) is tf32
