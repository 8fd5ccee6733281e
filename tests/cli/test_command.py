import os
import subprocess
import sys

import pytest

from mace_train.cli import command
from mace_train.cli.command import Interrupted, run_reporting_errors
from mace_train.cli.problems import ConfigError, Problem


@pytest.fixture(autouse=True)
def _allocator_of_the_tests(monkeypatch):
    """A command called inside the process of the tests leaves its allocator alone."""
    monkeypatch.setattr(command, "keep_freed_memory", lambda: False)


def call(name, *words, cwd, **variables):
    """A command as a shell runs it."""
    code = f"from mace_train.cli.{name} import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def test_a_wrong_config_ends_with_2_one_message_and_no_file(tmp_path):
    done = call("train", "model=mace_tinny", "optim.lr=-1", cwd=tmp_path)
    assert done.returncode == 2
    assert "2 problems" in done.stderr
    assert "did you mean mace_tiny?" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_before_the_run_begins_is_no_traceback(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["mace-train"])
    monkeypatch.setattr(command.importlib, "import_module", interrupted)
    with pytest.raises(SystemExit) as ended:
        command.run_command("train")
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_idle_threads_sleep_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mace-train", "--version"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    command.run_command("train")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    command.run_command("train")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--info", "defaults"], ["--version"]])
def test_flags_that_only_show_write_nothing(flags, tmp_path):
    done = call("train", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_config_is_shown_even_if_something_must_still_be_given(tmp_path):
    done = call("train", "--cfg", "job", "data=extxyz", cwd=tmp_path)
    assert "train: ???" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Problem("seed", "is odd")]), 2),
        (ValueError("no frames"), 1),
        (FileNotFoundError("no file"), 1),
        (Interrupted("the same command goes on"), 130),
        (Interrupted("terminated", 143), 143),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_user_can_cause_ends_with_a_message(error, code, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(command, "run_config", fail)
    monkeypatch.delenv("MACE_TRAIN_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as caught:
        run_reporting_errors("train", {})
    assert caught.value.code == code
    said = capsys.readouterr().err
    assert (str(error) or "interrupted") in said
    assert "Traceback" not in said


def test_a_traceback_can_be_asked_for(monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no frames")

    monkeypatch.setattr(command, "run_config", fail)
    monkeypatch.setenv("MACE_TRAIN_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        run_reporting_errors("train", {})
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def fail(*_):
        raise AssertionError("a bug")

    monkeypatch.setattr(command, "run_config", fail)
    with pytest.raises(AssertionError):
        run_reporting_errors("train", {})


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_only_one_rank_is_the_first(variable, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert command.is_first_rank()
    monkeypatch.setenv(variable, "1")
    assert not command.is_first_rank()


def test_torchrun_may_number_its_ranks_otherwise_than_slurm_its_tasks(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("RANK", "0")
    assert command.is_first_rank()


@pytest.mark.parametrize(("rank", "code"), [("0", 138), ("1", 0)])
def test_of_an_interrupted_run_only_the_first_rank_ends_with_an_error(
    rank, code, monkeypatch
):
    def stop(*_):
        raise Interrupted("the same command goes on", exit_code=138)

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(command, "run_config", stop)
    with pytest.raises(SystemExit) as ended:
        run_reporting_errors("train", {})
    assert ended.value.code == code


def test_an_error_of_another_rank_names_it(monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no frames")

    monkeypatch.setattr(command, "run_config", fail)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit):
        run_reporting_errors("train", {})
    assert capsys.readouterr().err == "rank 3: error: no frames\n"
