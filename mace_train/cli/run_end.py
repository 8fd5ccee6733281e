"""How a run ends: finished, stopped or failed; what the user is told, and ``status.json``.

Floor 6. A job script asks the status whether to start the job again: it does so where the
run was interrupted, and never where it failed.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mace_train.cli.command import INTERRUPTED, Interrupted, is_first_rank
from mace_train.training.interruption import Interruption
from mace_train.training.stop_requests import TIME_LIMIT
from mace_train.training.wishes import RunStoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from mace_train.cli.run_folder import RunFolder

TERMINATED = 143


@contextmanager
def ending_told(folder: RunFolder) -> Iterator[None]:
    """Turn every end of a run into one message and a state in ``status.json``.

    Args:
        folder: Of the run.

    Raises:
        Interrupted: If the run was stopped; the message says how to go on.
        ValueError: Instead of an error of torch that a user can cause.
    """
    with EndingSignals() as signals:
        try:
            yield
        except RunStoppedError as error:
            signals.ignore()
            raise _interrupted(folder, str(error), error.exit_code) from None
        except SIGTERMException:
            signals.ignore()
            raise _interrupted(folder, "terminated", TERMINATED) from None
        except SignalledEnd as error:
            signals.ignore()
            asked = error.interruption
            raise _interrupted(folder, str(asked), asked.exit_code) from None
        except (KeyboardInterrupt, SystemExit) as error:
            # Lightning turns Ctrl-C into an exit.
            if isinstance(error, SystemExit) and not isinstance(
                error.__context__, KeyboardInterrupt
            ):
                raise
            raise _interrupted(folder, "interrupted", INTERRUPTED) from None
        except Exception as error:
            signals.ignore()
            told = _told(error)
            _note_failure(folder, told)
            if told is error:
                raise
            raise told from error


class SignalledEnd(BaseException):
    """A signal came where no step is in progress.

    Args:
        interruption: Which one.
    """

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(str(interruption))
        self.interruption = interruption


class EndingSignals:
    """Lets SIGTERM and SIGUSR1 end the run where it does not train: loading, reporting."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> EndingSignals:
        if threading.current_thread() is threading.main_thread():
            names = [n for n in ("SIGTERM", "SIGUSR1") if hasattr(signal, n)]
            numbers = [getattr(signal, name) for name in names]
            self._before = {n: signal.signal(n, self._end) for n in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        # Other ranks have nothing left to do: a late signal must not make them look failed.
        if is_first_rank():
            for number, handler in self._before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def ignore(self) -> None:
        """Let nothing disturb the last words; the run ends anyway."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if os.getpid() == self._process:
            raise SignalledEnd(Interruption(signal.Signals(number).name))
        signal.signal(number, signal.SIG_DFL)  # in a worker that was forked
        os.kill(os.getpid(), number)


def _interrupted(folder: RunFolder, what: str, exit_code: int) -> Interrupted:
    """The message of a run that was stopped, whose state is noted."""
    try:
        newest = folder.checkpoints.newest_whole()
    except ValueError as error:
        folder.write_status("interrupted", reason=what)
        return Interrupted(f"{what}; {error}", exit_code)
    if newest is None:
        folder.write_status("interrupted", reason=what)
        how = "before the first checkpoint; the same command begins anew"
        return Interrupted(f"{what} {how}", exit_code)
    where = {"epoch": newest.num_epochs, "step": newest.step}
    if exit_code == TIME_LIMIT and newest.progress == folder.began_at:
        reason = f"{what}, and no step was done since the start: a longer time is needed"
        folder.write_status("failed", reason=reason, **where)
        return Interrupted(reason, exit_code)
    folder.write_status("interrupted", reason=what, **where)
    return Interrupted(
        f"{what}; the same command goes on after step {newest.step}, in epoch "
        f"{newest.num_epochs}, from {newest.path}",
        exit_code,
    )


def _note_failure(folder: RunFolder, error: BaseException) -> None:
    """Write that the run failed, unless an earlier one in its folder was finished."""
    if folder.path.is_dir() and folder.state != "finished":
        reason = str(error) or type(error).__name__
        folder.write_status("failed", reason=reason.splitlines()[0])


def _told(error: Exception) -> Exception:
    """An error of torch that a user can cause in words for the user, others as they are."""
    if not isinstance(error, torch.OutOfMemoryError):
        return error
    return ValueError(
        f"the memory is full: {str(error).splitlines()[0]} Use a smaller model, "
        "dtype=float32 or a device with more memory (estimate=true tells what is needed)"
    )
