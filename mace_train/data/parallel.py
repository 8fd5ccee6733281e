"""Jobs in worker processes that report progress and never outlive us."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

_counter: Any = None  # in a worker: the shared number of units done


def run_parallel(
    work: Callable[[Job, Callable[[int], None]], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    progress: Callable[[int], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> list[Result]:
    """Do all jobs; the first error ends the rest and is raised here.

    Args:
        work: A module's function that takes a job and a function to call with the number of
            units just done.
        jobs: What to pass to it, one by one.
        workers: Processes; with one, or one job, the work is done in this process.
        progress: Called about twice a second with the units done so far.
        on_stop: Called when the work ends early, to let jobs in progress end soon, for
            which then is waited; None: they go on without us until this process ends.

    Returns:
        What ``work`` gave for each job, in their order.

    Raises:
        ValueError: If a worker process was killed, mostly for want of memory.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        return _run_here(work, jobs, progress)
    # Forked workers need no importable __main__, so a user's script may call this anywhere.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    counter = context.Value("q", 0)
    with warnings.catch_warnings():
        # Python 3.12 warns where a process with threads forks; ours only compute and write.
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(counter, os.getpid())
        ) as executor:
            futures = [executor.submit(_work_there, work, job) for job in jobs]
            try:
                _watch(futures, counter, progress)
            except BrokenProcessPool as error:
                raise ValueError(
                    "a worker process was killed, mostly for want of memory: start again "
                    "with fewer workers; what is finished is kept"
                ) from error
            except BaseException:
                if on_stop is not None:
                    on_stop()
                    executor.shutdown(wait=True, cancel_futures=True)
                raise
            finally:
                executor.shutdown(wait=False, cancel_futures=True)
            return [future.result() for future in futures]


def _run_here(
    work: Callable[[Job, Callable[[int], None]], Result],
    jobs: Sequence[Job],
    progress: Callable[[int], None] | None,
) -> list[Result]:
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done)

    return [work(job, tick) for job in jobs]


def _watch(
    futures: Sequence[Future[Any]], counter: Any, progress: Callable[[int], None] | None
) -> None:
    """Wait for all, reporting progress; raises the first error."""
    open_futures = set(futures)
    while open_futures:
        finished, open_futures = wait(open_futures, 0.5, return_when=FIRST_EXCEPTION)
        for future in finished:
            future.result()
        if progress is not None:
            progress(int(counter.value))


def _begin(counter: Any, parent: int) -> None:
    """Prepare a worker process."""
    global _counter  # shared memory reaches a worker only at its start
    _counter = counter
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even by kill -9."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work_there(work: Callable[[Job, Callable[[int], None]], Result], job: Job) -> Result:
    def tick(count: int) -> None:
        with _counter.get_lock():
            _counter.value += count

    return work(job, tick)


def num_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
