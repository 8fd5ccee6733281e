"""The time limit of a run, without waiting for any."""

import stat

import pytest

from mace_train.training.run_time import LEAST_MARGIN, End, RunTime, find_end, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:00:01", 1),
        ("01:30:00", 5400),
        ("23:50:00", 85800),
        ("100:00:00", 360000),
        ("2-00:00:00", 172800),
        ("1-02:03:04", 93784),
        (" 00:10:00 ", 600),
        (85800, 85800),
    ],
)
def test_a_time_is_read_in_all_its_forms(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "24h", "1:30", "90:00", "1-2", "00:60:00", "00:00:75", "-1:00:00", "1.5"]
)
def test_another_form_is_refused_with_the_key_and_the_allowed_ones(text):
    with pytest.raises(ValueError, match="is not allowed") as caught:
        parse_time(text)
    assert f"trainer.max_time={text!r}" in str(caught.value)
    assert '"HH:MM:SS" | "D-HH:MM:SS"' in str(caught.value)


@pytest.mark.parametrize("text", ["00:00:00", "0-00:00:00", 0, -5])
def test_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"trainer\.max_time=.* leaves no time"):
        parse_time(text)


def test_a_time_that_is_given_counts_from_the_start():
    end = find_end("01:00:00", start=1000.0, environment={"SLURM_JOB_ID": "7"})
    assert end == End(4600.0, "trainer.max_time=01:00:00")


def test_null_is_no_limit_even_in_a_job():
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "5000"}
    assert find_end(None, start=0.0, environment=environment) is None


def test_auto_is_the_limit_of_the_job():
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1800000000"}
    end = find_end("auto", start=0.0, environment=environment)
    assert end == End(1.8e9, "the time limit of SLURM job 7")


def test_auto_outside_of_slurm_is_no_limit():
    assert find_end("auto", start=0.0, environment={}) is None


@pytest.mark.parametrize(
    ("said", "left"),
    [("29:59\n", 1799), ("0:05", 5), ("3:00:00", 10800), ("1-02:03:04\n", 93784)],
)
def test_an_old_slurm_is_asked_for_the_time_left(said, left, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 500.0)
    asked = []

    def ask(job):
        asked.append(job)
        return said

    end = find_end("auto", start=0.0, environment={"SLURM_JOB_ID": "7"}, ask=ask)
    assert end is not None
    assert end.time == 500.0 + left
    assert asked == ["7"]


@pytest.mark.parametrize("said", ["UNLIMITED", "NOT_SET", "INVALID", "", None])
def test_a_job_without_limit_has_none(said):
    environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": ""}
    assert find_end("auto", start=0.0, environment=environment, ask=lambda _: said) is None


@pytest.mark.parametrize(("code", "left"), [(0, 3723), (1, None)])
def test_squeue_is_called_as_slurm_wants_it(tmp_path, monkeypatch, code, left):
    squeue = tmp_path / "squeue"
    squeue.write_text(
        '#!/bin/sh\n[ "$*" = "--noheader --job=7 --format=%L" ] || exit 9\n'
        f"echo 1:02:03\nexit {code}\n"
    )
    squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr("time.time", lambda: 0.0)
    end = find_end("auto", start=0.0, environment={"SLURM_JOB_ID": "7"})
    assert (None if end is None else end.time) == left


def test_without_squeue_there_is_no_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_end("auto", start=0.0, environment={"SLURM_JOB_ID": "7"}) is None


class Clock:
    """A clock that the test sets."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def test_a_run_ends_a_minute_before_if_steps_are_quick():
    clock = Clock(0.0)
    run_time = RunTime(End(1000.0, "trainer.max_time=00:16:40"), clock=clock)
    run_time.took("step", 0.1)
    clock.now = 1000.0 - LEAST_MARGIN
    assert not run_time.is_due()
    clock.now += 0.1
    assert run_time.is_due()
    assert run_time.reason == "trainer.max_time=00:16:40 is near"


def test_the_margin_is_that_of_the_slowest_step_and_checkpoint():
    run_time = RunTime(End(1000.0, "x"), clock=Clock(0.0))
    for seconds in (40.0, 100.0, 30.0):
        run_time.took("step", seconds)
    for seconds in (20.0, 8.0):
        run_time.took("checkpoint", seconds)
    assert run_time.margin() == pytest.approx(3 * 100 + 1.5 * 20)


def test_before_a_validation_its_own_time_must_be_left():
    clock = Clock(0.0)
    run_time = RunTime(End(1000.0, "x"), clock=clock)
    run_time.took("step", 1.0)
    run_time.took("validation", 300.0)
    clock.now = 600.0
    assert run_time.is_due("validation")
    assert not run_time.is_due("step")


def test_a_run_without_limit_is_never_due():
    run_time = RunTime(None, clock=Clock(1e12))
    run_time.took("step", 1e6)
    assert not run_time.is_due()
    assert run_time.left == float("inf")


def test_a_time_that_is_all_needed_for_saving_is_refused():
    with pytest.raises(ValueError, match=r"trainer\.max_time=60 leaves no time to train"):
        find_end(60, start=0.0)
