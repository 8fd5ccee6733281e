import os
import signal

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
    with pytest.raises(ValueError, match="even with one frame at a time: CUDA out"):
        end_with(folder, torch.OutOfMemoryError("CUDA out of memory.\nmore"))


def test_an_exit_of_someone_else_passes(folder):
    with pytest.raises(SystemExit):
        end_with(folder, SystemExit(3))
    assert folder.state is None
