"""A rank of a run under a `FailureWatch`, started by the tests with what it shall do.

python watched_ranks.py DEED_OF_RANK_0 DEED_OF_RANK_1 ...
"""

import atexit
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from mace_train.training import failure_relay, failure_watch
from mace_train.training.failure_watch import FailureWatch, RankFailedError

RANK = int(os.environ["RANK"])


class StoppedError(Exception):
    """All ranks agreed to stop."""


def say(word):
    print(word, flush=True)


def work():
    """Take part in collectives until another rank does not."""
    while True:
        dist.all_reduce(torch.ones(1))


def sleep(seconds="300"):
    time.sleep(float(seconds))


def fail(kind="ValueError"):
    time.sleep(0.5)  # others wait in a collective by then
    raise getattr(__builtins__, kind)("the batch is spoilt")


def die():
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_die():
    """A worker process outlives its killed rank."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(45,))
    process.start()
    say(f"worker {process.pid}")
    die()


def work_with_worker():
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(45,))
    process.start()
    say(f"worker {process.pid}")
    time.sleep(300)


def hold_the_gil(seconds="6"):
    """Let no other thread of this process run."""
    ctypes.PyDLL(None).sleep(int(seconds))


def stop():
    raise StoppedError


def hang_after_failure():
    """An exception whose way out of the run never ends."""
    try:
        fail()
    except ValueError as error:
        watch.report(error)
        time.sleep(300)


def leave():
    pass


def main(deeds):
    failure_relay.SILENCE, failure_relay._PROBE_AFTER, failure_relay._PROBE_EVERY = 3, 1, 1
    failure_watch._UNWINDING = 4.0
    if RANK == 0:
        logging.basicConfig(format="log: %(message)s")
    dist.init_process_group("gloo", timeout=timedelta(minutes=10))
    atexit.register(dist.destroy_process_group)  # as Lightning does
    # where rank zero can be reached, and as which machine it takes itself
    os.environ["MASTER_ADDR"] = os.environ.get("MEETING_PLACE", "127.0.0.1")
    watch._host = os.environ.get(f"HOST_{RANK}", watch._host)
    deed, _, argument = deeds[RANK].partition("=")
    try:
        with watch:
            watch.begin()
            say("begun")
            globals()[deed](*filter(None, [argument]))
    except StoppedError:
        status = Path(os.environ["NOTES"], "status")
        if RANK == 0:
            time.sleep(1.5)
            status.touch()
        say(f"stopped, with status: {status.exists()}")
    except RankFailedError as error:
        sys.stderr.write(f"explained: {error}\n")
        sys.exit(1)
    say("ended")


def note(message):
    Path(os.environ["NOTES"], f"rank_{RANK}").write_text(message)


watch = FailureWatch(on_failure=note, ordinary=(StoppedError,))

if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
