import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys

import pytest

from mace_train.cli import folder_lock
from mace_train.cli.folder_lock import locked

HOLDER = """
import os, sys, time
from pathlib import Path
from mace_train.cli.folder_lock import locked
with locked(Path(sys.argv[1])):
    worker = os.fork()
    if not worker:
        time.sleep(60)
        os._exit(0)
    print(worker, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A folder that another process holds, which has forked a worker."""
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    worker = int(process.stdout.readline())
    yield folder, process
    os.kill(worker, signal.SIGKILL)
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_who_writes(held, monkeypatch):
    folder, process = held
    monkeypatch.setattr(folder_lock, "SECONDS_OF_PATIENCE", 0.0)
    with pytest.raises(ValueError, match="is being written by another process") as error:
        locked(folder).__enter__()
    assert f"process {process.pid}, since" in str(error.value)
    assert "name=..." in str(error.value)
    with locked(folder.parent / "another run"):
        pass


def test_a_killed_process_leaves_no_lock_though_its_workers_live(held):
    folder, process = held
    process.kill()
    process.wait()
    with locked(folder):
        assert f"process {os.getpid()}" in (folder / ".lock").read_text()


def test_the_lock_is_given_back_at_the_end(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "run"):
            pass
    text = (tmp_path / "run" / ".lock").read_text()
    assert text.count("host") == 1


def test_without_locks_in_the_file_system_the_run_goes_on(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    caplog.set_level(logging.INFO, logger="mace_train")
    with locked(tmp_path / "run"):
        pass
    assert "file system without locks (No locks available)" in caplog.text
