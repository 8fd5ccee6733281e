"""Signals are noted and carried to the end of the step; only force ends a run at once."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from mace_train.training.interruption import (
    Interruption,
    Interruptions,
    leave_signals_to_rank,
)

CODES = {"SIGTERM": 143, "SIGUSR1": 138, "SIGINT": 130}


@pytest.fixture(autouse=True)
def _handlers_as_before():
    before = {name: signal.getsignal(getattr(signal, name)) for name in CODES}
    yield
    left = {name: signal.getsignal(getattr(signal, name)) for name in CODES}
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)
    assert left == before


def _send(name):
    os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_a_signal_is_noted_and_the_work_goes_on(name, code):
    with Interruptions() as interruptions:
        assert interruptions.asked is None
        _send(name)
        assert interruptions.asked == Interruption(name)
    assert interruptions.asked.exit_code == code
    assert name in str(interruptions.asked) or "Ctrl-C" in str(interruptions.asked)


def test_the_first_signal_gives_the_exit_code():
    with Interruptions() as interruptions:
        _send("SIGUSR1")
        _send("SIGTERM")
        _send("SIGTERM")
        _send("SIGINT")
    assert interruptions.asked == Interruption("SIGUSR1")


def test_a_second_ctrl_c_ends_at_once(capfd):
    with Interruptions() as interruptions:
        _send("SIGINT")
        assert "Ctrl-C again ends at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            _send("SIGINT")
    assert interruptions.asked == Interruption("SIGINT")


def test_one_rank_speaks(capfd):
    with Interruptions(speaks=False):
        _send("SIGINT")
    assert capfd.readouterr().err == ""


def test_handlers_installed_by_others_meanwhile_stay():
    before = signal.getsignal(signal.SIGTERM)
    interruptions = Interruptions()
    interruptions.install()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as when Lightning restores its own
    interruptions.restore()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)


def test_ours_take_the_place_of_those_of_lightning_and_give_it_back():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("Lightning"))
    lightnings = signal.getsignal(signal.SIGTERM)
    interruptions = Interruptions()
    interruptions.install()
    interruptions.install()  # twice is once
    _send("SIGTERM")
    interruptions.restore()
    assert heard == []
    assert signal.getsignal(signal.SIGTERM) is lightnings
    signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruptions() as interruptions:
            _send("SIGINT")
            assert interruptions.asked is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one_leaves_all_as_it_is():
    before = signal.getsignal(signal.SIGTERM)
    interruptions = Interruptions()

    def try_it():
        with interruptions:
            assert signal.getsignal(signal.SIGTERM) == before

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


def _wait(ready):
    ready.set()
    time.sleep(30)


def _ignore_and_wait(ready):
    leave_signals_to_rank(0)
    _wait(ready)


def _ended_by(target, names, context):
    """Exit code of a worker that gets signals and then, if it still runs, SIGKILL."""
    ready = context.Event()
    worker = context.Process(target=target, args=(ready,))
    worker.start()
    assert ready.wait(60)
    for name in names:
        os.kill(worker.pid, getattr(signal, name))
        worker.join(0.5)
    worker.kill()
    worker.join()
    return worker.exitcode


@pytest.mark.parametrize(
    ("names", "code"),
    [(("SIGINT", "SIGINT", "SIGUSR1"), -signal.SIGKILL), (("SIGTERM",), -signal.SIGTERM)],
)
def test_forked_workers_leave_signals_to_their_rank_and_can_be_terminated(names, code):
    with Interruptions() as interruptions:
        assert _ended_by(_wait, names, multiprocessing.get_context("fork")) == code
    assert interruptions.asked is None


@pytest.mark.parametrize("target", [_wait, _ignore_and_wait])
def test_other_workers_are_told_to(target):
    ended = _ended_by(target, ("SIGUSR1",), multiprocessing.get_context("fork"))
    assert ended == (-signal.SIGUSR1 if target is _wait else -signal.SIGKILL)
