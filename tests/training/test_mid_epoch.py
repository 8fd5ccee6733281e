"""A run that was cut off anywhere goes on as if it had not been."""

import lightning
import pytest
import torch
from pair_potential import Frames, make_frame, make_module, train

from mace_train.training.callbacks import EpochCallback
from mace_train.training.history import History
from mace_train.training.stages import EarlyStopping, StageTwo
from mace_train.training.wishes import RunStoppedError

FRAMES = [make_frame(index) for index in range(20)]
TIMES = {
    "seconds",
    "frames_per_second",
    "timing/data",
    "timing/compute",
    "timing/communication",
}
NUM_EPOCHS = 3
NUM_STEPS = 4  # of an epoch


class StopAt(EpochCallback):
    """Asks to stop at a step, or in the validation after it."""

    def __init__(self, step, *, in_validation=False) -> None:
        self.step, self.in_validation = step, in_validation

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step + 1 == self.step and not self.in_validation:
            pl_module.wishes.stop = "enough"

    def on_validation_batch_start(
        self, trainer, pl_module, batch, batch_idx, dataloader_idx=0
    ):
        if trainer.global_step == self.step and self.in_validation and batch_idx == 1:
            pl_module.wishes.stop = "enough"


class Seen(lightning.Callback):
    """Takes note of the frames of every step that was taken."""

    def __init__(self) -> None:
        self.frames = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        indices = [i for graph in batch for i in graph.labels.frame_index.tolist()]
        self.frames.append((trainer.current_epoch, batch_idx, indices))


def run(folder, *, checkpoint=None, num_workers=0, callbacks=(), valid=6):
    frames = Frames(FRAMES[:14], FRAMES[14 : 14 + valid], num_workers=num_workers)
    module = make_module(
        stage_two=StageTwo(start_epoch=2, lr=0.005), early_stopping=EarlyStopping(50)
    )
    seen = Seen()
    train(
        module,
        frames,
        folder,
        max_epochs=NUM_EPOCHS,
        checkpoint=checkpoint,
        extra_callbacks=[*callbacks, seen],
    )
    return seen.frames


def rows(folder):
    return [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in History(folder / "metrics.csv").rows()
    ]


def load(folder, name="last"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_equal(one, other, path=""):
    if isinstance(one, dict):
        assert set(one) == set(other), path
        for key in one:
            assert_equal(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for place, pair in enumerate(zip(one, other)):
            assert_equal(*pair, f"{path}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other or (one != one and other != other), path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    return folder, run(folder)


@pytest.fixture(scope="module")
def whole_without_validation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unvalidated")
    torch.set_num_threads(1)
    return folder, run(folder, valid=0)


def check(tmp_path, whole, stop, *, num_workers=0, valid=6):
    folder, frames = whole
    options = {"num_workers": num_workers, "valid": valid}
    first = Seen()
    with pytest.raises(RunStoppedError, match="enough"):
        run(tmp_path, callbacks=[stop, first], **options)
    second = run(tmp_path, checkpoint=tmp_path / "checkpoints/last.ckpt", **options)
    assert first.frames + second == frames
    for name in ("last", "best"):
        one, other = load(folder, name), load(tmp_path, name)
        for key in ("mace_train", "state_dict", "optimizer_states", "epoch", "global_step"):
            assert_equal(one[key], other[key], f"{name}/{key}")
    assert rows(tmp_path) == rows(folder)


@pytest.mark.parametrize("step", range(1, NUM_EPOCHS * NUM_STEPS + 1))
def test_a_run_cut_off_after_any_step_equals_the_uninterrupted_one(tmp_path, whole, step):
    check(tmp_path, whole, StopAt(step))


@pytest.mark.parametrize("epoch", range(1, NUM_EPOCHS + 1))
def test_a_run_cut_off_in_a_validation_validates_again(tmp_path, whole, epoch):
    check(tmp_path, whole, StopAt(epoch * NUM_STEPS, in_validation=True))


@pytest.mark.parametrize("step", [2, 4, 5])
def test_what_workers_had_fetched_does_not_count(tmp_path, whole, step):
    check(tmp_path, whole, StopAt(step), num_workers=2)


@pytest.mark.parametrize("step", [1, NUM_STEPS, NUM_STEPS + 1, NUM_EPOCHS * NUM_STEPS])
def test_without_validation_frames_too(tmp_path, whole_without_validation, step):
    check(tmp_path, whole_without_validation, StopAt(step), valid=0)
