"""A failure of one rank ends all: gloo processes that raise, are killed, or are stuck."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mace_train.training.failure_watch import FailureWatch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MINUTE = 60


def test_one_process_is_not_watched():
    with FailureWatch() as watch:
        watch.begin()
        assert watch.explain(RuntimeError("Connection closed by peer")) is None
    watch = FailureWatch()
    watch.begin()
    error = ValueError("no frames")
    watch.report(error)
    assert watch.__exit__(type(error), error, None) is None  # which lets it pass


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    """Start one process a deed; whatever is left of them is ended after the test."""
    started = []

    def run(*deeds, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        environment |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "WORLD_SIZE": str(len(deeds)),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}",
            "NOTES": str(tmp_path),
            **variables,
        }
        for rank in range(len(deeds)):
            process = subprocess.Popen(
                [sys.executable, str(HERE / "watched_ranks.py"), *deeds],
                env=environment | {"RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(process)
        return started

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _results(processes):
    """Exit codes, and what was said; a rank that hangs for a minute fails the test."""
    said = [process.communicate(timeout=MINUTE) for process in processes]
    codes = [process.returncode for process in processes]
    return codes, [output for output, _ in said], [errors for _, errors in said]


SPOILT = rf"rank {{}} on {re.escape(socket.gethostname())} failed: the batch is spoilt"
KILLED = rf"rank {{}} on {re.escape(socket.gethostname())} ended without a word"


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("other", ["work", "sleep"])
def test_an_exception_ends_all_ranks_with_its_message(start, tmp_path, failing, other):
    deeds = [other, other]
    deeds[failing] = "fail"
    codes, _, errors = _results(start(*deeds))
    assert codes == [1, 1], errors
    assert "ValueError: the batch is spoilt" in errors[failing]
    message = SPOILT.format(failing)
    assert re.search(message, errors[1 - failing]), errors
    assert re.search(message, (tmp_path / f"rank_{1 - failing}").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("other", ["work", "sleep"])
def test_a_killed_rank_is_named_by_the_others_which_end(start, killed, other):
    deeds = [other, other, other]
    deeds[killed] = "die"
    codes, _, errors = _results(start(*deeds))
    assert codes[killed] == -signal.SIGKILL
    for rank in {0, 1, 2} - {killed}:
        assert codes[rank] == 1, errors
        assert re.search(KILLED.format(killed), errors[rank]), errors
    # gloo notices at once in a collective, and the error says what it means
    explained = [
        errors[rank] for rank in {0, 1, 2} - {killed} if "explained" in errors[rank]
    ]
    assert bool(explained) == (other == "work")


@pytest.mark.slow
def test_a_worker_that_outlives_its_killed_rank_does_not_hide_that(start):
    processes = start("sleep", "fork_and_die")
    codes, said, errors = _results_of_first(processes)
    assert codes == 1
    assert re.search(KILLED.format(1), errors), said


def _results_of_first(processes):
    first, second = processes
    while not (line := second.stdout.readline()).startswith("worker"):
        assert line, second.stderr.read()
    try:
        said, errors = first.communicate(timeout=MINUTE / 2)
    finally:
        os.kill(int(line.split()[1]), signal.SIGKILL)
    return first.returncode, said, errors


@pytest.mark.slow
def test_an_ended_rank_leaves_no_worker_behind(start):
    first, _ = start("work_with_worker", "fail")
    while not (line := first.stdout.readline()).startswith("worker"):
        assert line, first.stderr.read()
    assert first.wait(MINUTE) == 1
    worker = int(line.split()[1])
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker still ran")


@pytest.mark.slow
@pytest.mark.parametrize("deeds", [("leave", "sleep=3"), ("sleep=3", "leave")])
def test_ranks_may_end_regularly_one_long_after_the_other(start, deeds):
    codes, said, errors = _results(start(*deeds))
    assert codes == [0, 0], errors
    assert all(text.endswith("ended\n") for text in said)


@pytest.mark.slow
def test_an_exception_that_all_ranks_agreed_on_is_no_failure_and_rank_zero_ends_first(
    start, tmp_path
):
    codes, said, errors = _results(start("stop", "stop"))
    assert codes == [0, 0], errors
    # a launcher ends all at the first exit code, perhaps before rank zero wrote the status
    assert all("stopped, with status: True" in text for text in said)
    assert [path.name for path in tmp_path.iterdir()] == ["status"]


@pytest.mark.slow
def test_a_rank_that_is_done_while_another_failed_has_failed_too(start):
    codes, said, errors = _results(start("sleep=3", "fail"))
    assert codes == [1, 1], errors
    assert re.search("explained: " + SPOILT.format(1), errors[0])
    assert "ended" not in said[0]


@pytest.mark.slow
def test_an_error_of_all_ranks_is_each_ranks_own(start, tmp_path):
    codes, _, errors = _results(start("fail", "fail"))
    assert codes == [1, 1]
    assert all("ValueError: the batch is spoilt" in text for text in errors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_bug_is_told_with_its_type(start):
    codes, _, errors = _results(start("sleep", "fail=ZeroDivisionError"))
    assert codes == [1, 1]
    assert "failed: ZeroDivisionError: the batch is spoilt" in errors[0]


@pytest.mark.slow
def test_a_rank_that_cannot_end_after_its_failure_is_ended(start):
    codes, _, errors = _results(start("work", "hang_after_failure"))
    assert codes == [1, 1], errors
    assert re.search(SPOILT.format(1), errors[0])
    assert re.search(SPOILT.format(1), errors[1])


@pytest.mark.slow
def test_a_rank_that_lets_no_thread_run_is_not_dead(start):
    # for longer than the silence after which a machine is taken for dead
    codes, _, errors = _results(start("sleep=7", "hold_the_gil=6"))
    assert codes == [0, 0], errors


@pytest.mark.slow
def test_a_suspended_rank_is_not_dead(start):
    processes = start("sleep=8", "sleep=1")
    while processes[1].stdout.readline() != "begun\n":
        pass
    processes[1].send_signal(signal.SIGSTOP)
    time.sleep(6)
    processes[1].send_signal(signal.SIGCONT)
    codes, _, errors = _results(processes)
    assert codes == [0, 0], errors


@pytest.mark.slow
def test_ranks_of_several_machines_meet_where_their_process_group_did(start):
    hosts = {"HOST_0": "no-such-host.invalid", "HOST_1": "elsewhere"}
    codes, _, errors = _results(start("sleep", "fail", **hosts))
    assert codes == [1, 1], errors
    assert "rank 1 on elsewhere failed: the batch is spoilt" in errors[0]


@pytest.mark.slow
def test_a_rank_that_cannot_be_watched_is_named_and_trains_on(start):
    hosts = {"HOST_0": "no-such-host.invalid", "HOST_1": "elsewhere"}
    unreachable = {"MEETING_PLACE": "no-such-host.invalid"}
    codes, _, errors = _results(start("sleep=1", "sleep=1", **hosts, **unreachable))
    assert codes == [0, 0], errors
    assert "rank 1 on elsewhere cannot be watched: no-such-host.invalid:" in errors[0]
