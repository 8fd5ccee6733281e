"""`Interruptions`: signals that ask a run to save and end, noted for after the step.

Floor 4, the standard library only. A handler runs between any two instructions of the main
thread, perhaps inside a collective that other ranks have not reached. So ours only takes a
note; the step's sum over ranks carries it (`wishes.py`), and all ranks end together. Hence
it does not matter whether SLURM signals all ranks, one of them, or Ctrl-C a whole terminal.

Lightning installs handlers of its own when it fits, just before ``on_train_start``; the one
of SIGTERM broadcasts right inside, which hangs where another rank is in a sum. Ours take
their place from ``on_train_start`` to ``on_train_end``.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_MEANINGS = {
    "SIGTERM": "terminated (SIGTERM)",
    "SIGUSR1": "asked to end (SIGUSR1, as SLURM sends it before the time limit)",
    "SIGINT": "interrupted (Ctrl-C)",
}
_SIGNALS = tuple(
    getattr(signal, name) for name in _MEANINGS if hasattr(signal, name)
)  # SIGUSR1 is not known everywhere
_WORKER_OUTLIVES = 60  # seconds
_AFTER_STEP = b"\nsaving and ending after this step; Ctrl-C again ends at once\n"


@dataclass(frozen=True)
class Interruption:
    """A signal that asked a run to end.

    Attributes:
        signal_name: Such as ``SIGTERM``.

    >>> Interruption("SIGTERM").exit_code, str(Interruption("SIGINT"))
    (143, 'interrupted (Ctrl-C)')
    """

    signal_name: str

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that such a signal ended."""
        return 128 + signal.Signals[self.signal_name].value

    def __str__(self) -> str:
        return _MEANINGS[self.signal_name]


class Interruptions:
    """Takes note of SIGTERM, SIGUSR1 and the first Ctrl-C instead of ending the process.

    A second Ctrl-C ends it at once, as without us. A signal that is ignored, as Ctrl-C is
    by a job in the background, stays so. Loader workers that are forked meanwhile leave
    Ctrl-C and SIGUSR1 to us and end by SIGTERM.

    Args:
        speaks: Whether to tell on standard error what Ctrl-C will do; one rank is enough.

    Attributes:
        asked: The first signal that came; None if there was none.
    """

    def __init__(self, *, speaks: bool = True) -> None:
        self.asked: Interruption | None = None
        self._speaks = speaks
        self._has_heard_ctrl_c = False
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Take note from now on; only the main thread can, others leave all as it is."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None, self._note):
                self._before[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Put back the handlers of before, but where others stand in our place."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, before)
        self._before.clear()

    def __enter__(self) -> Interruptions:
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if os.getpid() != self._process:
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT:
            if self._has_heard_ctrl_c:
                raise KeyboardInterrupt
            self._has_heard_ctrl_c = True
            if self._speaks:
                os.write(2, _AFTER_STEP)
        if self.asked is None:
            self.asked = Interruption(signal.Signals(number).name)


def leave_signals_to_rank(worker: int) -> None:  # noqa: ARG001 - what a loader calls it with
    """Let a loader's worker outlive signals that are for its rank, a ``worker_init_fn``.

    SLURM and Ctrl-C may signal all processes of a task. The rank then still needs its
    batches for the step after which it saves: SIGTERM ends a worker a minute later.
    """
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_WORKER_OUTLIVES))
