import os
import signal
from types import SimpleNamespace

import pytest
import torch

from mace_train.cli.command import Interrupted
from mace_train.cli.run_end import ending_told
from mace_train.cli.run_folder import RunFolder
from mace_train.training.wishes import RunStoppedError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def end_with(folder, error):
    with ending_told(folder):
        raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunStoppedError("the time limit is near", 75), 75),
        (RunStoppedError("terminated (SIGTERM)", 143), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_a_stopped_run_is_interrupted_with_its_exit_code(folder, error, code):
    with pytest.raises(Interrupted, match="the same command begins anew") as caught:
        end_with(folder, error)
    assert caught.value.exit_code == code
    assert folder.state == "interrupted"


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_outside_of_training_ends_the_run_too(folder, name, code):
    before = signal.getsignal(signal.Signals[name])
    with pytest.raises(Interrupted, match=name) as caught, ending_told(folder):
        os.kill(os.getpid(), signal.Signals[name])
    assert caught.value.exit_code == code
    assert folder.state == "interrupted"
    assert signal.getsignal(signal.Signals[name]) == before


def test_a_failure_is_noted_with_its_first_line(folder):
    folder.write_status("interrupted")
    with pytest.raises(ValueError, match="no frames"):
        end_with(folder, ValueError("no frames\nand more"))
    assert folder.state == "failed"
    assert "no frames" in folder.status.read_text()
    assert "and more" not in folder.status.read_text()


def test_a_failed_command_leaves_a_finished_run_finished(folder):
    folder.write_status("finished")
    with pytest.raises(ValueError, match="another model"):
        end_with(folder, ValueError("another model"))
    assert folder.state == "finished"


def test_full_memory_is_explained(folder):
    with pytest.raises(ValueError, match="the memory is full: CUDA out"):
        end_with(folder, torch.OutOfMemoryError("CUDA out of memory.\nmore"))


def test_an_exit_of_someone_else_passes(folder):
    with pytest.raises(SystemExit):
        end_with(folder, SystemExit(3))
    assert folder.state is None


def test_the_last_words_are_not_disturbed_by_another_signal(folder, monkeypatch):
    write = folder.write_status

    def slow(*words, **more):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        write(*words, **more)

    monkeypatch.setattr(folder, "write_status", slow)
    with pytest.raises(Interrupted):
        end_with(folder, RunStoppedError("the limit is near", 75))
    assert folder.state == "interrupted"


def test_a_limit_that_leaves_no_time_for_a_step_is_a_failure(folder, monkeypatch):
    newest = SimpleNamespace(num_epochs=1, step=4, path="last.ckpt", progress=(4, 1))
    monkeypatch.setattr(folder.checkpoints, "newest_whole", lambda: newest)
    folder.began_at = (4, 1)
    with pytest.raises(Interrupted, match="a longer time is needed"):
        end_with(folder, RunStoppedError("the limit is near", 75))
    assert folder.state == "failed"


def test_where_no_checkpoint_is_whole_the_run_is_interrupted_all_the_same(
    folder, monkeypatch
):
    def fail():
        raise ValueError("no checkpoint can be gone on from")

    monkeypatch.setattr(folder.checkpoints, "newest_whole", fail)
    with pytest.raises(Interrupted, match="no checkpoint can be gone on from"):
        end_with(folder, RunStoppedError("terminated", 143))
    assert folder.state == "interrupted"
