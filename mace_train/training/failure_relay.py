"""`FailureRelay`: where rank zero hears that a rank failed, and tells the others.

Floor 4, without torch. Every rank holds one TCP connection to rank zero. No
heartbeat is sent: the kernel closes the connection of a killed process at once, and its own
keep-alive probes notice within `SILENCE` seconds that a machine is gone. So no pause of
Python (garbage collection, a loop that holds the GIL, a suspended job) looks like death.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import subprocess
import threading
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mace_train.training.child_ranks import exit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SILENCE = 30
"""Seconds without an answer of a machine's kernel after which it is taken for dead."""
_PROBE_AFTER, _PROBE_EVERY = 10, 5
_CONNECT_SECONDS, _SEND_SECONDS = 10.0, 5.0
_LONGEST_LINE = 1 << 16
_LONGEST_MESSAGE = 4000
_NO_WORD = "ended without a word (killed? out of memory?)"

_open_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_inherited() -> None:
    """A loader's worker that outlives its killed rank must not keep its connection."""
    for inherited in list(_open_sockets):
        inherited.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


@dataclass(frozen=True)
class Failure:
    """What ended a rank.

    Attributes:
        rank: The rank.
        host: Its machine.
        what: What happened to it, to be read after its name.
    """

    rank: int
    host: str
    what: str = _NO_WORD

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} {self.what}"


class Connection:
    """Messages between two processes: plain values as JSON, one a line.

    Args:
        connected: A connected TCP socket.
    """

    def __init__(self, connected: socket.socket) -> None:
        _open_sockets.add(connected)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        probes = (SILENCE - _PROBE_AFTER) // _PROBE_EVERY
        for name, value in (
            ("TCP_NODELAY", 1),
            ("TCP_KEEPIDLE", _PROBE_AFTER),
            ("TCP_KEEPINTVL", _PROBE_EVERY),
            ("TCP_KEEPCNT", probes),
            ("TCP_USER_TIMEOUT", SILENCE * 1000),
        ):
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self.socket = connected
        self._unread = b""
        self._sending = threading.Lock()

    @classmethod
    def to(cls, host: str, port: int, *, timeout: float) -> Connection:
        """Connect to a listening process.

        Raises:
            OSError: If nobody listens there.
        """
        connected = socket.create_connection((host, port), timeout=timeout)
        connected.settimeout(None)
        return cls(connected)

    def send(self, **message: Any) -> None:
        """Send a message; a lost connection is noticed by who reads from it."""
        line = json.dumps(message).encode() + b"\n"
        with self._sending, suppress(OSError):
            self.socket.sendall(line)

    def read(self) -> list[dict[str, Any]] | None:
        """Wait for messages; None when the other side is gone."""
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            return None
        *lines, self._unread = (self._unread + data).split(b"\n")
        if not data or len(self._unread) > _LONGEST_LINE:
            return None
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            return None
        return messages if all(isinstance(item, dict) for item in messages) else None

    def messages(self) -> Iterator[dict[str, Any]]:
        """All messages until the other side is gone."""
        while (messages := self.read()) is not None:
            yield from messages

    def close(self) -> None:
        """End the connection, and the waiting of a thread that reads from it."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class FailureRelay:
    """Passes the first failure of a rank on to all ranks; a thread of rank zero.

    Args:
        children: Processes that this one started, by rank, whose exit codes tell more than
            a lost connection.
        only_local: Whether all ranks are on this machine; others cannot connect then.
    """

    def __init__(
        self,
        children: Mapping[int, subprocess.Popen[Any]] | None = None,
        *,
        only_local: bool = True,
    ) -> None:
        self.token = secrets.token_hex(16)
        self._children = dict(children or {})
        self._listener: socket.socket | None = _listen(only_local=only_local)
        _open_sockets.add(self._listener)
        self.port: int = self._listener.getsockname()[1]
        self._members: dict[Connection, Failure] = {}
        self._left: set[Connection] = set()
        self._failure: Failure | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_complete = threading.Event()
        self._thread = threading.Thread(target=self._run, name="failure-relay", daemon=True)
        self._thread.start()

    def close_door(self) -> None:
        """Let nobody else connect; the relay ends when those who did are gone."""
        self._is_complete.set()
        with suppress(OSError):  # wakes the thread
            socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()

    def _run(self) -> None:
        while self._listener is not None or self._members:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._welcome()
                else:
                    self._hear(key.data)
        for key in list(self._selector.get_map().values()):  # strangers
            key.data.close()
        self._selector.close()

    def _welcome(self) -> None:
        assert self._listener is not None
        with suppress(OSError):
            accepted = self._listener.accept()[0]
            accepted.settimeout(_SEND_SECONDS)
            self._selector.register(accepted, selectors.EVENT_READ, Connection(accepted))
        if self._is_complete.is_set():
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _hear(self, member: Connection) -> None:
        messages = member.read()
        if messages is None:
            self._lose(member)
            return
        for message in messages:
            if member not in self._members:
                if message.get("token") != self.token:
                    self._lose(member)
                    return
                self._members[member] = Failure(message["rank"], message["host"])
                member.send(welcome=True)
            elif "failed" in message:
                fate = self._members[member]
                what = f"failed: {message['failed']}"
                self._tell(Failure(fate.rank, fate.host, what))
            elif "leaving" in message:
                self._leave(member)

    def _lose(self, member: Connection) -> None:
        """A connection has ended; without a good-bye that is a failure."""
        self._selector.unregister(member.socket)
        member.close()
        fate = self._members.pop(member, None)
        if fate is not None and member not in self._left:
            child = self._children.get(fate.rank)
            what = (None if child is None else exit_of(child)) or fate.what
            self._tell(Failure(fate.rank, fate.host, what))
        self._left.discard(member)
        self._tell_if_all_left()

    def _leave(self, member: Connection) -> None:
        self._left.add(member)
        if self._members[member].rank == 0:
            self._send_all(relay_may_end=True)
        self._tell_if_all_left()

    def _tell(self, failure: Failure) -> None:
        """Tell the first failure; later ones mostly follow from it."""
        if self._failure is None:
            self._failure = failure
            self._send_all(failure=asdict(failure))

    def _tell_if_all_left(self) -> None:
        if self._left == self._members.keys():
            self._send_all(all_left=True)

    def _send_all(self, **message: Any) -> None:
        """Rank zero comes last: when it has heard something, all others were told."""
        for member in sorted(self._members, key=lambda one: -self._members[one].rank):
            member.send(**message)


def _listen(*, only_local: bool) -> socket.socket:
    if only_local:
        return socket.create_server(("127.0.0.1", 0), backlog=1024)
    if socket.has_dualstack_ipv6():
        with suppress(OSError):
            return socket.create_server(
                ("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
            )
    return socket.create_server(("", 0), backlog=1024)


def describe_failure(error: BaseException) -> str:
    """What ended a rank, in the words of an exception; its type where it is a bug."""
    if not isinstance(error, Exception):  # somebody ended it
        text = "" if isinstance(error, SystemExit) else str(error)
        text = text or "interrupted"
    elif isinstance(error, ValueError | OSError):
        text = str(error) or type(error).__name__
    else:
        text = f"{type(error).__name__}: {error}"
    return text[:_LONGEST_MESSAGE]


def join_relay(
    addresses: Sequence[str], port: int, *, token: str, rank: int, host: str
) -> tuple[Connection, list[dict[str, Any]]] | str:
    """Connect to the relay of rank zero.

    Args:
        addresses: Where it may be reached, to be tried in turn.
        port: Its port.
        token: Its password.
        rank: Of this process.
        host: Its machine, for messages.

    Returns:
        The connection and first messages, or what is in the way.
    """
    problem = "no address of rank 0 is known"
    for address in addresses:
        try:
            connection = Connection.to(address, port, timeout=_CONNECT_SECONDS)
        except OSError as error:
            problem = f"{address}:{port} cannot be reached ({error.strerror or error})"
            continue
        connection.send(token=token, rank=rank, host=host)
        connection.socket.settimeout(_CONNECT_SECONDS)
        answer = connection.read()
        connection.socket.settimeout(None)
        if answer and "welcome" in answer[0]:
            return connection, answer[1:]
        problem = f"at {address}:{port} is another process than rank 0"
        connection.close()
    return problem
