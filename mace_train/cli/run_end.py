"""How a run ends: finished, stopped or failed; what the user is told, and ``status.json``.

Floor 4. A job script asks the status whether to start the job again: it does so where the
run was interrupted, and never where it failed.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mace_train.cli.command import INTERRUPTED, Interrupted
from mace_train.training.interruption import Interruption
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
    try:
        with _signals_raised():
            yield
    except RunStoppedError as error:
        raise _interrupted(folder, str(error), error.exit_code) from None
    except SIGTERMException:
        raise _interrupted(folder, "terminated", TERMINATED) from None
    except _SignalError as error:
        asked = error.interruption
        raise _interrupted(folder, str(asked), asked.exit_code) from None
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning turns Ctrl-C into an exit.
        if isinstance(error, SystemExit) and not isinstance(
            error.__context__, KeyboardInterrupt
        ):
            raise
        raise _interrupted(folder, "interrupted", INTERRUPTED) from None
    except torch.OutOfMemoryError as error:
        told = _full_memory(error)
        _note_failure(folder, told)
        raise told from error
    except Exception as error:
        _note_failure(folder, error)
        raise


class _SignalError(BaseException):
    """A signal came where no step is in progress."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(str(interruption))
        self.interruption = interruption


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 end the run where it does not train: loading, reporting."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if os.getpid() == process:
            raise _SignalError(Interruption(signal.Signals(number).name))
        signal.signal(number, signal.SIG_DFL)  # in a worker that was forked
        os.kill(os.getpid(), number)

    numbers = [
        getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)
    ]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _interrupted(folder: RunFolder, what: str, exit_code: int) -> Interrupted:
    """The message of a run that was stopped, whose state is noted."""
    newest = folder.checkpoints.newest_whole()
    if newest is None:
        how = "before the first checkpoint; the same command begins anew"
        folder.write_status("interrupted", reason=what)
        return Interrupted(f"{what} {how}", exit_code)
    epoch, step = newest.num_epochs, newest.step
    folder.write_status("interrupted", reason=what, epoch=epoch, step=step)
    return Interrupted(
        f"{what}; the same command goes on after step {step}, in epoch {epoch}, from "
        f"{newest.path}",
        exit_code,
    )


def _note_failure(folder: RunFolder, error: BaseException) -> None:
    """Write that the run failed, unless an earlier one in its folder was finished."""
    if folder.path.is_dir() and folder.state != "finished":
        reason = str(error) or type(error).__name__
        folder.write_status("failed", reason=reason.splitlines()[0])


def _full_memory(error: torch.OutOfMemoryError) -> ValueError:
    return ValueError(
        f"the memory is full even with one frame at a time: {str(error).splitlines()[0]} "
        "Leave the largest frames out, or use a smaller model, dtype=float32 or a device "
        "with more memory (estimate=true tells what is needed)"
    )
