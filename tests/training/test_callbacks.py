"""Checkpoints and metrics.csv in the run's folder: complete or absent, and when."""

import tempfile

import lightning
import pytest
import torch
from pair_potential import Frames, make_frame, make_module

from mace_train.training.callbacks import CheckpointWriter
from mace_train.training.checkpoint_folder import CheckpointFolder, StartingPoint
from mace_train.training.fitting import fit
from mace_train.training.resume import read_checkpoint
from mace_train.training.stages import StageTwo
from mace_train.training.trainer import TrainerSettings
from mace_train.training.wishes import RunStoppedError

FRAMES = [make_frame(index) for index in range(10)]


def _fit(run_dir, writer, *, max_epochs, checkpoint=None, module=None, more=()):
    fit(
        module or make_module(),
        Frames(FRAMES[:6], FRAMES[6:], batch_size=1),
        settings=TrainerSettings(
            max_epochs=max_epochs, accelerator="cpu", progress_bar=False
        ),
        run_dir=run_dir,
        callbacks=[*more, writer],
        start=checkpoint and StartingPoint(checkpoint, read_checkpoint(checkpoint)),
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
    assert names == ["best.ckpt", "last-1.ckpt", "last.ckpt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoints",
        "metrics.csv",
    ]


def test_a_full_disk_leaves_the_older_checkpoint_whole_and_nothing_half(tmp_path):
    _fit(tmp_path, CheckpointWriter(), max_epochs=1)
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()
    for name in ("last", "best"):
        (tmp_path / f"checkpoints/{name}.ckpt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: .*\.ckpt\.partial"):
        _fit(tmp_path, CheckpointWriter(), max_epochs=2, checkpoint=last)
    assert last.read_bytes() == before
    assert len(list(last.parent.glob("*.partial"))) == 1  # the link of the other one


def test_checkpoints_are_not_written_to_a_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    _fit(tmp_path / "run", CheckpointWriter(), max_epochs=1)
    assert _num_epochs(tmp_path / "run/checkpoints/last.ckpt") == 1


def test_the_row_of_an_epoch_is_there_before_its_checkpoint(tmp_path):
    class Looking(CheckpointWriter):
        def on_train_epoch_end(self, trainer, pl_module):
            rows = (tmp_path / "metrics.csv").read_text().splitlines()
            assert len(rows) == trainer.current_epoch + 2
            super().on_train_epoch_end(trainer, pl_module)

    _fit(tmp_path, Looking(), max_epochs=2)


class _Steps(lightning.Callback):
    """Comes after the writer in each step, and notes which checkpoints there are."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.seen = {}

    def on_train_batch_start(self, trainer, *_):
        start = self.folder.newest_whole()
        self.seen[trainer.global_step] = None if start is None else start.step


def _newest_by_step(run_dir, writer, *, max_epochs=1, **options):
    steps = _Steps(CheckpointFolder(run_dir / "checkpoints"))
    _fit(run_dir, writer, max_epochs=max_epochs, more=[steps], **options)
    return steps.seen


def test_by_steps_a_checkpoint_is_written_in_the_middle_of_an_epoch(tmp_path):
    writer = CheckpointWriter(every_steps=4, every_epochs=10, every_minutes=None)
    seen = _newest_by_step(tmp_path, writer, max_epochs=2)
    expected = {4: 4, 5: 4, 8: 8, 9: 8, 10: 8, 11: 8}
    assert {step: seen[step] for step in expected} == expected
    assert [seen[step] for step in range(4)] == [None] * 4
    assert writer.seconds_of_last_write > 0


def test_by_minutes_rank_zero_wishes_for_a_checkpoint_when_one_is_due(tmp_path):
    writer = CheckpointWriter(every_minutes=1e-9)
    seen = _newest_by_step(tmp_path, writer)
    # Wished for after step 1, agreed on in step 2; then at least every other step.
    assert seen == {0: None, 1: None, 2: 2, 3: 2, 4: 4, 5: 4}
    writer = CheckpointWriter(every_minutes=60.0, keep=9)
    assert _newest_by_step(tmp_path / "quiet", writer) == dict.fromkeys(range(6))


def test_without_minutes_and_steps_only_epochs_are_written(tmp_path):
    writer = CheckpointWriter(every_minutes=None)
    seen = _newest_by_step(tmp_path, writer, max_epochs=2)
    assert list(seen.values()) == [None] * 6 + [6] * 6


class _Stop(lightning.Callback):
    """Wishes to stop at some step, or in the validation after it."""

    def __init__(self, step, *, in_validation=False) -> None:
        self.step, self.in_validation = step, in_validation

    def on_train_batch_start(self, trainer, pl_module, *_):
        if trainer.global_step == self.step and not self.in_validation:
            pl_module.wishes.stop = "time is over"

    def on_validation_start(self, trainer, pl_module):
        if trainer.global_step == self.step and self.in_validation:
            pl_module.wishes.stop = "time is over"


@pytest.mark.parametrize(
    ("stop", "step"), [(_Stop(7), 8), (_Stop(6, in_validation=True), 6)]
)
def test_a_run_that_stops_is_saved_where_it_stands_and_goes_on_exactly(
    tmp_path, stop, step
):
    def state(run_dir):
        newest = CheckpointFolder(run_dir / "checkpoints").newest_whole().entry
        return newest["model_state"] | newest["averaged_weights"]["averages"]

    def writer():
        return CheckpointWriter(every_epochs=5, every_minutes=None)

    _fit(tmp_path / "whole", writer(), max_epochs=3)
    parts = CheckpointFolder(tmp_path / "parts/checkpoints")
    with pytest.raises(RunStoppedError, match="time is over"):
        _fit(tmp_path / "parts", writer(), max_epochs=3, more=[stop])
    assert parts.newest_whole().step == step
    _fit(tmp_path / "parts", writer(), max_epochs=3, checkpoint=parts.last)
    for ours, theirs in zip(
        state(tmp_path / "parts").values(), state(tmp_path / "whole").values()
    ):
        assert torch.equal(ours, theirs)


def test_the_best_of_stage_one_is_kept_though_the_run_stops_early_in_stage_two(tmp_path):
    def module():
        return make_module(stage_two=StageTwo(start_epoch=1, lr=1e-4))

    with pytest.raises(RunStoppedError):
        _fit(tmp_path, CheckpointWriter(), max_epochs=3, module=module(), more=[_Stop(8)])
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert not folder.best_stage_one.exists()
    again = module()
    _fit(tmp_path, CheckpointWriter(), max_epochs=3, module=again, checkpoint=folder.last)
    assert _num_epochs(folder.best_stage_one) == 1
    assert _num_epochs(folder.best) == again.stages.best.epoch + 1


def test_a_best_that_is_not_there_is_sought_anew(tmp_path, caplog):
    _fit(tmp_path / "first", CheckpointWriter(), max_epochs=1)
    module = make_module()
    last = tmp_path / "first/checkpoints/last.ckpt"
    _fit(
        tmp_path / "second",
        CheckpointWriter(),
        max_epochs=2,
        checkpoint=last,
        module=module,
    )
    assert "best.ckpt, of epoch 0, is not in" in caplog.text
    assert module.stages.best.epoch == 1
    assert _num_epochs(tmp_path / "second/checkpoints/best.ckpt") == 2
