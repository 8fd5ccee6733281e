"""Checkpoints and metrics.csv in the run's folder: complete or absent, and when."""

import errno

import pytest
import torch
from pair_potential import Frames, make_frame, make_module

from mace_train.training import callbacks
from mace_train.training.callbacks import CheckpointWriter, finish_file
from mace_train.training.trainer import TrainerSettings, fit

FRAMES = [make_frame(index) for index in range(10)]


def _fit(run_dir, writer, *, max_epochs, checkpoint=None, module=None):
    fit(
        module or make_module(),
        Frames(FRAMES[:6], FRAMES[6:]),
        settings=TrainerSettings(
            max_epochs=max_epochs, accelerator="cpu", progress_bar=False
        ),
        run_dir=run_dir,
        callbacks=[writer],
        checkpoint=checkpoint,
    )


def _num_epochs(path):
    return torch.load(path, weights_only=True)["mace_train"]["num_epochs"]


class _Recorded(CheckpointWriter):
    """Notes how many epochs last.ckpt holds after each epoch."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.last = []

    def on_train_epoch_end(self, trainer, pl_module):
        super().on_train_epoch_end(trainer, pl_module)
        last = trainer.default_root_dir + "/checkpoints/last.ckpt"
        try:
            self.last.append(_num_epochs(last))
        except FileNotFoundError:
            self.last.append(None)


def test_last_is_written_every_few_epochs_and_at_the_end(tmp_path):
    writer = _Recorded(every_epochs=2)
    _fit(tmp_path, writer, max_epochs=5)
    assert writer.last == [None, 2, 2, 4, 5]


def test_best_is_the_epoch_of_the_lowest_validation_loss(tmp_path):
    module = make_module()
    _fit(tmp_path, CheckpointWriter(), max_epochs=4, module=module)
    best = tmp_path / "checkpoints/best.ckpt"
    assert _num_epochs(best) == module.stages.best.epoch + 1
    saved = torch.load(best, weights_only=True)["mace_train"]["stages"]["best"]
    assert saved["loss"] == module.stages.best.loss


def test_no_unfinished_file_stays_behind(tmp_path):
    _fit(tmp_path, CheckpointWriter(), max_epochs=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoints",
        "metrics.csv",
    ]


def test_a_full_disk_leaves_the_older_checkpoint_whole(tmp_path, monkeypatch):
    _fit(tmp_path, CheckpointWriter(), max_epochs=1)
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()

    def fail(partial, path):
        partial.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(callbacks, "finish_file", fail)
    with pytest.raises(OSError, match="No space left"):
        _fit(tmp_path, CheckpointWriter(), max_epochs=2, checkpoint=last)
    assert last.read_bytes() == before


def test_a_finished_file_replaces_the_older_one(tmp_path):
    partial, path = tmp_path / "a.partial", tmp_path / "a"
    path.write_text("old")
    partial.write_text("new")
    finish_file(partial, path)
    assert path.read_text() == "new"
    assert not partial.exists()


def test_the_row_of_an_epoch_is_there_before_its_checkpoint(tmp_path):
    class Looking(CheckpointWriter):
        def on_train_epoch_end(self, trainer, pl_module):
            rows = (tmp_path / "metrics.csv").read_text().splitlines()
            assert len(rows) == trainer.current_epoch + 2
            super().on_train_epoch_end(trainer, pl_module)

    _fit(tmp_path, Looking(), max_epochs=2)
