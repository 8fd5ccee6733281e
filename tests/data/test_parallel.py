"""Worker processes: all jobs are done, progress is told, errors and deaths come through."""

import os
import signal
import time

import pytest

from mace_train.data.parallel import num_cores, run_parallel


def write_number(job, tick):
    path, number = job
    path.write_text(f"{number} {os.getpid()}")
    tick(number)


def fail_on_three(job, tick):
    write_number(job, tick)
    if job[1] == 3:
        raise ValueError("frame 3 is broken")


def die(job, tick):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_jobs_are_done_and_counted(tmp_path, workers):
    reports = []
    jobs = [(tmp_path / str(number), number) for number in range(6)]
    run_parallel(write_number, jobs, workers=workers, progress=reports.append)
    assert [int(path.read_text().split()[0]) for path, _ in jobs] == list(range(6))
    assert reports[-1] == 15
    assert reports == sorted(reports)


def test_several_workers_are_other_processes(tmp_path):
    jobs = [(tmp_path / str(number), number) for number in range(4)]
    run_parallel(write_number, jobs, workers=2)
    assert str(os.getpid()) not in {path.read_text().split()[1] for path, _ in jobs}


def squared(job, tick):
    return job**2


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert run_parallel(squared, list(range(9)), workers=workers) == [
        number**2 for number in range(9)
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(tmp_path, workers):
    jobs = [(tmp_path / str(number), number) for number in range(5)]
    with pytest.raises(ValueError, match="frame 3 is broken"):
        run_parallel(fail_on_three, jobs, workers=workers)


def test_a_killed_worker_is_explained(tmp_path):
    with pytest.raises(
        ValueError, match=r"killed, mostly for want of memory.*fewer workers"
    ):
        run_parallel(die, [1, 2], workers=2)


def test_no_jobs_are_no_problem():
    run_parallel(die, [], workers=4)


def note_and_wait(job, tick):
    tick(1)
    if job == 0:
        raise ValueError("job 0 is broken")
    while not job.exists():
        time.sleep(0.05)
    time.sleep(0.3)
    job.with_suffix(".ended").touch()


def test_jobs_in_progress_are_asked_to_end_and_waited_for(tmp_path):
    stop = tmp_path / "stop"
    with pytest.raises(ValueError, match="job 0 is broken"):
        run_parallel(note_and_wait, [stop, 0], workers=2, on_stop=stop.touch)
    assert stop.with_suffix(".ended").exists()


def test_there_is_at_least_one_core():
    assert num_cores() >= 1
