"""A run that starts from a trained model: what its epochs have to beat."""

import math

import pytest
from pair_potential import Frames, make_frame, make_module, train

from mace_train.training.fitting import fit
from mace_train.training.optim import Optimizer
from mace_train.training.start_loss import StartLoss
from mace_train.training.trainer import TrainerSettings

FRAMES = [make_frame(index) for index in range(6)]


def run(tmp_path, module, *, epochs=1, valid=FRAMES[4:], **more):
    settings = TrainerSettings(max_epochs=epochs, accelerator="cpu", progress_bar=False)
    return fit(
        module,
        Frames(FRAMES[:4], valid),
        settings=settings,
        run_dir=tmp_path,
        callbacks=[StartLoss()],
        **more,
    )


def test_the_start_is_what_the_first_epoch_has_to_beat(tmp_path, caplog):
    caplog.set_level("INFO", logger="mace_train")
    module = make_module()
    untouched = make_module()
    run(tmp_path, module)
    told = module.stages.state_dict()["start_losses"]
    assert math.isfinite(told[0])
    assert f"{told[0]:.6g}" in caplog.text
    again = make_module()
    run(tmp_path, again)
    assert again.stages.state_dict()["start_losses"] == told
    assert [p.shape for p in untouched.parameters()] == [
        p.shape for p in again.parameters()
    ]


def test_the_loss_is_the_validation_loss_of_the_weights_at_the_start(tmp_path):
    """With a learning rate of next to nothing, the first epoch validates the same."""
    module = make_module(optimizer=Optimizer(lr=1e-30))
    run(tmp_path, module)
    start = module.stages.state_dict()["start_losses"][0]
    assert module.row["valid/loss"] == pytest.approx(start, rel=1e-6)


def test_a_run_that_only_got_worse_has_no_best_epoch(tmp_path):
    module = make_module(optimizer=Optimizer(lr=50.0))
    run(tmp_path, module, epochs=2)
    assert module.stages.none_beat_start
    assert not module.is_best


def test_without_validation_frames_there_is_nothing_to_beat(tmp_path):
    module = make_module()
    run(tmp_path, module, valid=[])
    assert module.stages.state_dict()["start_losses"] == [math.inf, math.inf]
    assert module.stages.best.epoch == 0


def test_a_run_that_goes_on_keeps_its_start(tmp_path, caplog):
    caplog.set_level("INFO", logger="mace_train")
    options = {"max_epochs": 1, "extra_callbacks": [StartLoss()]}
    frames = Frames(FRAMES[:4], FRAMES[4:])
    first = make_module()
    train(first, frames, tmp_path, **options)
    caplog.clear()
    second = make_module()
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    train(second, frames, tmp_path, **{**options, "max_epochs": 2}, checkpoint=checkpoint)
    assert "before the first step" not in caplog.text
    told = second.stages.state_dict()["start_losses"]
    assert told == first.stages.state_dict()["start_losses"]
    assert math.isfinite(told[0])
