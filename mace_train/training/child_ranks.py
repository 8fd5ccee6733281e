"""Ranks that Lightning started as children of rank zero: how they end, and with whom.

Floor 4. Lightning 2.6.6 starts the other ranks of a machine by repeating the command line.
A thread of rank zero, its ``_ChildProcessObserver``, looks every 5 s whether one of them
ended with an exit code other than 0, and then kills all ranks with SIGKILL: rank zero too,
whose last words are lost. That is right until there is a `FailureWatch`, which says more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

OUTLIVE = 30.0
"""Seconds that a child has to end by itself when rank zero is gone."""
_LAUNCHER_VARIABLE = "MACE_TRAIN_LAUNCHER_PID"
_EXIT_SECONDS = 1.0


def adopt_children(launcher: Any) -> list[subprocess.Popen[Any]]:
    """Take the ranks that Lightning started out of its hands, for `FailureWatch.begin`.

    Lightning would kill all ranks at the first exit code, and send them every signal that
    this one gets.

    Args:
        launcher: ``trainer.strategy.launcher``; other launchers than that for subprocesses
            have no children.
    """
    processes: list[subprocess.Popen[Any]] = getattr(launcher, "procs", [])
    children = list(processes)
    processes.clear()  # the same list that its observer watches, which ends then
    return children


def end_with_launcher() -> None:
    """Let the ranks that Lightning started end soon after the one that started them.

    Called at the start of a run on every rank; there need be no process group yet.
    """
    launcher = os.environ.get(_LAUNCHER_VARIABLE)
    os.environ[_LAUNCHER_VARIABLE] = str(os.getpid())
    is_started = os.environ.get("LOCAL_RANK", "0") != "0"
    if is_started and launcher == str(os.getppid()):
        threading.Thread(
            target=_outlive_shortly,
            args=(os.getppid(),),
            name="launcher-watch",
            daemon=True,
        ).start()


def _outlive_shortly(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1.0)
    time.sleep(OUTLIVE)  # a watch has more to say, and a regular end needs its time
    sys.stderr.write("error: rank 0, which started this process, is gone\n")
    os._exit(1)


def end_children(processes: Sequence[subprocess.Popen[Any]], *, within: float) -> None:
    """Wait some seconds for processes to end, and kill those that do not."""
    deadline = time.monotonic() + within
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def exit_of(child: subprocess.Popen[Any]) -> str | None:
    """How a child that lost its connection ended; None if it has not ended."""
    try:
        code = child.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if code >= 0:
        return f"ended without a word (exit code {code})"
    name = signal.Signals(-code).name
    more = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{more}"
