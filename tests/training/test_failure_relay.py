"""What rank zero passes on: failures, good-byes, and lost connections."""

import socket
import subprocess
import sys
import threading

import pytest

from mace_train.training.failure_relay import (
    SILENCE,
    Connection,
    Failure,
    FailureRelay,
    describe_failure,
    join_relay,
)

PATIENCE = 20.0


@pytest.fixture
def relay():
    relay = FailureRelay()
    yield relay
    end(relay)


def end(relay):
    if not relay._is_complete.is_set():
        relay.close_door()
    relay._thread.join(PATIENCE)
    assert not relay._thread.is_alive()


@pytest.fixture
def join(relay):
    """Connect as a rank; all connections are closed after the test."""
    members = []

    def connect(rank, *, token=None):
        member = Connection.to("127.0.0.1", relay.port, timeout=PATIENCE)
        member.socket.settimeout(PATIENCE)
        members.append(member)
        member.send(token=token or relay.token, rank=rank, host=f"host{rank}")
        assert member.read() == (None if token else [{"welcome": True}])
        return member

    yield connect
    for member in members:
        member.close()


def told(member):
    """The next message; several may have come at once."""
    if not hasattr(member, "heard"):
        member.heard = member.messages()
    return next(member.heard)


def failure(rank, what):
    return {"failure": {"rank": rank, "host": f"host{rank}", "what": what}}


def test_a_failure_is_told_to_all_with_the_rank_and_its_machine(join):
    members = [join(rank) for rank in range(3)]
    members[1].send(failed="no frames")
    for member in members:
        assert told(member) == failure(1, "failed: no frames")
    assert (
        str(Failure(1, "host1", "failed: no frames")) == "rank 1 on host1 failed: no frames"
    )


def test_only_the_first_failure_is_told(join):
    first, second, third = (join(rank) for rank in range(3))
    second.send(failed="the cause")
    assert told(first) == failure(1, "failed: the cause")
    third.send(failed="a consequence")
    for member in (first, second, third):
        member.send(leaving=True)
    assert told(first) == {"relay_may_end": True}  # and nothing of the consequence
    assert told(first) == {"all_left": True}


def test_a_connection_that_ends_without_a_word_is_a_failure(join):
    first, second = join(0), join(1)
    second.close()
    message = told(first)["failure"]
    assert Failure(**message) == Failure(1, "host1")
    assert "rank 1 on host1 ended without a word (killed?" in str(Failure(**message))


def test_a_connection_that_ends_after_a_good_bye_is_none(join):
    first, second, third = (join(rank) for rank in range(3))
    second.send(leaving=True)
    second.close()
    third.send(failed="later")
    assert told(first) == failure(2, "failed: later")


def test_rank_zero_may_end_when_the_others_know(join):
    first, second = join(0), join(1)
    first.send(leaving=True)
    assert told(second) == {"relay_may_end": True}
    assert told(first) == {"relay_may_end": True}


def test_a_failed_rank_learns_when_the_others_are_gone(join):
    first, second, third = (join(rank) for rank in range(3))
    third.send(failed="no frames")
    third.send(leaving=True)
    assert told(third) == failure(2, "failed: no frames")
    first.close()
    second.send(leaving=True)
    assert told(third) == {"all_left": True}


def test_strangers_are_shown_out(join):
    first = join(0)
    join(1, token="a guess")
    second = join(1)
    second.send(failed="known to all")
    assert told(first) == failure(1, "failed: known to all")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b"{" * 100_000])
def test_what_is_no_message_ends_the_connection_and_nothing_else(relay, join, data):
    first = join(0)
    with socket.create_connection(("127.0.0.1", relay.port), timeout=PATIENCE) as stranger:
        try:
            stranger.sendall(data)
            assert stranger.recv(1) == b""
        except ConnectionError:
            pass  # closed before all was read
    first.send(failed="still heard")
    assert told(first) == failure(0, "failed: still heard")


def test_nobody_enters_when_the_door_is_closed_and_the_relay_ends_with_its_members(
    relay, join
):
    member = join(0)
    relay.close_door()
    while relay._listener is not None:
        threading.Event().wait(0.01)
    with pytest.raises(ConnectionRefusedError):
        Connection.to("127.0.0.1", relay.port, timeout=PATIENCE)
    assert relay._thread.is_alive()
    member.send(leaving=True)
    member.close()
    relay._thread.join(PATIENCE)
    assert not relay._thread.is_alive()


def test_a_child_tells_how_it_was_killed():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    relay = FailureRelay({1: child})
    first, second = (
        Connection.to("127.0.0.1", relay.port, timeout=PATIENCE) for _ in range(2)
    )
    for rank, member in enumerate((first, second)):
        member.send(token=relay.token, rank=rank, host="here")
        assert told(member) == {"welcome": True}
    child.kill()
    second.close()
    message = told(first)["failure"]
    assert message["what"] == "was killed by SIGKILL (out of memory?)"
    first.close()
    end(relay)
    child.communicate()


def test_a_message_may_come_in_pieces_or_with_others(relay, join):
    first, second = join(0), join(1)
    line = b'{"failed": "in two pieces"}\n{"leaving": true}\n'
    for part in (line[:7], line[7:]):
        second.socket.sendall(part)
    assert told(first) == failure(1, "failed: in two pieces")


def test_the_kernel_notices_within_a_minute_that_a_machine_is_gone(join):
    connected = join(0).socket
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    after, every, count, unsent = (
        connected.getsockopt(socket.IPPROTO_TCP, option)
        for option in (
            socket.TCP_KEEPIDLE,
            socket.TCP_KEEPINTVL,
            socket.TCP_KEEPCNT,
            socket.TCP_USER_TIMEOUT,
        )
    )
    assert after + every * count == SILENCE
    assert unsent == 1000 * SILENCE
    assert SILENCE <= 40  # and some seconds for the ranks to end


def test_a_relay_for_one_machine_cannot_be_reached_from_others():
    relay = FailureRelay(only_local=True)
    assert relay._listener.getsockname()[0] == "127.0.0.1"
    end(relay)
    relay = FailureRelay(only_local=False)
    assert relay._listener.getsockname()[0] in ("::", "0.0.0.0")
    end(relay)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no frames"), "no frames"),
        (FileNotFoundError(2, "No such file", "a.xyz"), "[Errno 2] No such file: 'a.xyz'"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), "interrupted"),
        (KeyboardInterrupt("terminated (SIGTERM)"), "terminated (SIGTERM)"),
        (SystemExit(1), "interrupted"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_exception_is_told_in_its_own_words(error, words):
    assert describe_failure(error) == words


def test_a_long_message_is_cut():
    assert len(describe_failure(ValueError("x" * 10_000))) < 5000


def test_a_rank_joins_at_the_first_address_that_works(relay):
    addresses = ["no-such-host.invalid", "127.0.0.1"]
    joined = join_relay(addresses, relay.port, token=relay.token, rank=1, host="here")
    assert not isinstance(joined, str)
    connection, messages = joined
    assert messages == []
    assert relay._members.popitem()[1] == Failure(1, "here")
    connection.close()


def test_what_is_in_the_way_is_told(relay):
    options = {"rank": 1, "host": "here"}
    refused = join_relay(["127.0.0.1"], 1, token="", **options)
    assert refused == "127.0.0.1:1 cannot be reached (Connection refused)"
    stranger = join_relay(["127.0.0.1"], relay.port, token="a guess", **options)
    assert stranger == f"at 127.0.0.1:{relay.port} is another process than rank 0"
