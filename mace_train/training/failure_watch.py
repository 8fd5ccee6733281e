"""`FailureWatch`: a failure of one rank ends all of them, with its message and soon.

Floor 4. A rank whose neighbor is gone waits for it in a collective, for ever with NCCL. So
each rank has two threads beside its main one: one hears from rank zero (`failure_relay.py`)
which rank failed and why, the other ends the process where the main thread is stuck.

Before there is a process group this is left to the launchers: srun with --kill-on-bad-exit,
torchrun, and Lightning for the ranks that it started itself (`child_ranks.py`).
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from mace_train.training.child_ranks import end_children
from mace_train.training.failure_relay import (
    SILENCE,
    Connection,
    Failure,
    FailureRelay,
    describe_failure,
    join_relay,
)
from mace_train.training.ranks import gather_over_ranks, is_distributed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

logger = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds for a main thread that is not stuck to notice a failure itself."""
_UNWINDING = 20.0  # seconds for it to close files and loggers, once it has noticed
_LINGER = 15.0  # seconds for which a failed rank waits for the others to have their say
_EXPLAIN = SILENCE + 10.0  # seconds to wait for the reason of a lost connection
_LAST_WORDS = 10.0  # seconds for messages and log files of a process that is ended
_LOST = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe", re.IGNORECASE
)


class RankFailedError(ValueError):
    """Another rank failed, which this one noticed by a lost connection."""


class FailureWatch:
    """A context in which the failure of one rank ends all; nothing for a single process.

    An exception that leaves the context is told to the other ranks. If it is but the
    consequence of another rank's failure, a `RankFailedError` with that one's message takes
    its place.

    Args:
        on_failure: Called with the message where the process is ended because its main
            thread is stuck, such as to write the state of the run.
        ordinary: Exceptions that all ranks raise alike and that are no failures.
    """

    def __init__(
        self,
        *,
        on_failure: Callable[[str], None] | None = None,
        ordinary: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._on_failure = on_failure
        self._ordinary = ordinary
        self._rank, self._host = 0, socket.gethostname()
        self._children: Sequence[subprocess.Popen[Any]] = ()
        self._connection: Connection | None = None
        self._threads: list[threading.Thread] = []
        self._failure: Failure | None = None
        self._told = False
        self._known = threading.Event()
        self._unwinding = threading.Event()
        self._leaving = threading.Event()
        self._relay_may_end = threading.Event()
        self._all_left = threading.Event()
        self._lets_first_end = False
        self._first_has_ended = threading.Event()
        self._exiting = threading.Event()

    def __enter__(self) -> FailureWatch:
        return self

    def begin(self, children: Sequence[subprocess.Popen[Any]] = ()) -> None:
        """Watch from now on; all ranks call this once, when they have a process group.

        Args:
            children: On rank zero, what `adopt_children` gave: ranks 1, 2, ...
        """
        self._children = children
        if not is_distributed():
            return
        self._rank = dist.get_rank()
        hosts = gather_over_ranks(self._host)
        only_local = len(set(hosts)) == 1
        relay = None
        if self._rank == 0:
            ranks = dict(enumerate(children, start=1))
            relay = FailureRelay(ranks, only_local=only_local)
        offer = None if relay is None else (relay.port, relay.token, bool(children))
        port, token, has_children = gather_over_ranks(offer)[0]
        # srun and torchrun end all others at the first exit code, also that which has
        # still to write what has become of the run
        self._lets_first_end = self._rank > 0 and not has_children
        is_near = only_local or self._rank == 0
        meeting_place = os.environ.get("MASTER_ADDR", hosts[0])  # of the process group
        addresses = ["127.0.0.1"] if is_near else [meeting_place, hosts[0]]
        joined = join_relay(addresses, port, token=token, rank=self._rank, host=self._host)
        if not isinstance(joined, str):
            self._connection, messages = joined
            self._take_note(messages)
            self._threads = [
                threading.Thread(target=self._listen, args=(hosts[0],), daemon=True),
                threading.Thread(target=self._end_if_stuck, daemon=True),
            ]
            for thread in self._threads:
                thread.start()
        problems = gather_over_ranks(joined if isinstance(joined, str) else None)
        if relay is not None:
            relay.close_door()
        for rank, problem in enumerate(problems):
            if problem is not None and self._rank == 0:
                logger.warning(
                    "rank %d on %s cannot be watched: %s. If it is killed, the others wait "
                    "until the process group's time is out",
                    *(rank, hosts[rank], problem),
                )

    def report(self, error: BaseException) -> None:
        """Tell the others of an error, unless it is the consequence of theirs.

        Leaving the context does so too. But between an exception and that moment other
        code may close loggers or wait for a device, so this is called as soon as possible.
        """
        self._unwinding.set()
        if not (self._told or self._is_ordinary(error) or _comes_from_another(error)):
            self._tell(error)

    def explain(self, error: BaseException) -> str | None:
        """What happened to another rank, if an error is but the consequence of that.

        Waits until the reason is known, for less than a minute.

        Returns:
            None for an error of this rank's own.
        """
        if self._connection is None or self._told or not _comes_from_another(error):
            return None
        self._unwinding.set()
        self._leaving.set()
        if self._known.wait(_EXPLAIN):
            return str(self._failure)
        return f"the connection to another rank was lost, and none said why: {error}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is None:
            return
        self._unwinding.set()
        self._leaving.set()
        is_regular = error is None and not self._known.is_set()
        if is_regular or (error is not None and self._is_ordinary(error)):
            self._leave(self._connection)
            self._known.set()  # ends a thread
            self._close(self._connection, is_end=error is not None)
            for thread in self._threads:
                thread.join(1.0)
            return
        reason = str(self._failure) if error is None else self.explain(error)
        if reason is None and error is not None and not self._told:
            self._tell(error)
        elif reason is not None and self._failure is None:
            self._tell(RankFailedError(reason))
        self._leave(self._connection)
        self._all_left.wait(_LINGER)
        self._close(self._connection, is_end=True)
        end_children(self._children, within=_LAST_WORDS)
        atexit.register(self._exiting.set)  # which may hang in the end of a process group
        if reason is not None:
            raise RankFailedError(reason) from error

    def _is_ordinary(self, error: BaseException) -> bool:
        if isinstance(error, SystemExit):
            return error.code in (None, 0)
        return isinstance(error, self._ordinary)

    def _tell(self, error: BaseException) -> None:
        self._told = True
        if self._connection is not None:
            what = describe_failure(error)
            self._connection.send(failed=what)
            self._learn(Failure(self._rank, self._host, f"failed: {what}"))

    def _leave(self, connection: Connection) -> None:
        """Say good-bye; rank zero waits until all know that it may end."""
        connection.send(leaving=True)
        if self._rank == 0:
            self._relay_may_end.wait(_LAST_WORDS)

    def _close(self, connection: Connection, *, is_end: bool) -> None:
        if is_end and self._lets_first_end:
            self._first_has_ended.wait(_LINGER)
        connection.close()

    def _learn(self, failure: Failure) -> None:
        """Take note of the first failure."""
        if not self._known.is_set():
            self._failure = failure
            self._known.set()

    def _take_note(self, messages: Sequence[dict[str, Any]]) -> None:
        for message in messages:
            if "failure" in message:
                self._learn(Failure(**message["failure"]))
            elif "relay_may_end" in message:
                self._relay_may_end.set()
            elif "all_left" in message:
                self._all_left.set()

    def _listen(self, first_host: str) -> None:
        """A thread that hears from rank zero until that is gone."""
        assert self._connection is not None
        for message in self._connection.messages():
            self._take_note([message])
        if not self._relay_may_end.is_set():
            self._learn(Failure(0, first_host))
        self._all_left.set()
        self._first_has_ended.set()

    def _end_if_stuck(self) -> None:
        """A thread that ends the process some time after a failure."""
        self._known.wait()
        if self._failure is None:
            return
        if self._unwinding.wait(GRACE) and self._leaving.wait(_UNWINDING):
            self._exiting.wait()
            time.sleep(_UNWINDING)
            os._exit(1)
        self._end_here(str(self._failure))

    def _end_here(self, message: str) -> None:
        """End the process, whatever its main thread does."""
        timer = threading.Timer(_LAST_WORDS, os._exit, (1,))
        timer.daemon = True
        timer.start()  # a lock that the main thread holds must not stop us either
        try:
            if self._rank == 0:
                logger.error(message)
            else:
                sys.stderr.write(f"rank {self._rank}: error: {message}\n")
            if self._on_failure is not None:
                self._on_failure(message)
            end_children(self._children, within=GRACE)
            for worker in multiprocessing.active_children():
                worker.kill()
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(1)


def _comes_from_another(error: BaseException) -> bool:
    """Whether an error, or one that led to it, tells of a lost connection to a rank."""
    return any(
        isinstance(one, dist.DistError)
        or (isinstance(one, RuntimeError) and _LOST.search(str(one)) is not None)
        for one in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
