from types import SimpleNamespace

import pytest
from pair_potential import Frames, make_frame, make_module, train

from mace_train.training.interruption import Interruption, Interruptions
from mace_train.training.run_time import End, RunTime
from mace_train.training.stop_requests import TIME_LIMIT, StopRequests
from mace_train.training.wishes import RunStoppedError

FRAMES = [make_frame(index) for index in range(10)]


class Clock:
    """A second passes each time one looks."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def fit(tmp_path, callback, **options):
    frames = Frames(FRAMES[:8], FRAMES[8:], batch_size=2)
    train(make_module(), frames, tmp_path, max_epochs=50, extra_callbacks=[callback])


class AskedAt(StopRequests):
    """A signal comes at some step."""

    def __init__(self, step):
        super().__init__(Interruptions(), RunTime(None))
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.interruptions.asked = Interruption("SIGUSR1")
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)


def test_a_signal_ends_the_run_after_the_step_with_its_exit_code(tmp_path):
    with pytest.raises(RunStoppedError, match="SIGUSR1") as caught:
        fit(tmp_path, AskedAt(5))
    assert caught.value.exit_code == 138


def test_the_time_limit_ends_the_run_before_it(tmp_path):
    run_time = RunTime(End(100.0, "the limit"), clock=Clock())
    with pytest.raises(RunStoppedError, match="the limit is near") as caught:
        fit(tmp_path, StopRequests(Interruptions(), run_time))
    assert caught.value.exit_code == TIME_LIMIT
    assert (tmp_path / "checkpoints/last.ckpt").exists()
    assert 0 < run_time.left < run_time.margin()


def test_the_clock_is_told_how_long_things_take():
    run_time = RunTime(None)
    requests = StopRequests(Interruptions(), run_time)
    requests.on_validation_start(SimpleNamespace(), SimpleNamespace())
    requests.on_validation_end(SimpleNamespace(), SimpleNamespace())
    assert run_time._slowest["validation"] > 0
