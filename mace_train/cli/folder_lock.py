"""One process at a time writes into a run's folder.

Floor 6, the standard library only. The lock belongs to the process, so that the system
takes it back when the process ends in whatever way; workers that it forked do not hold it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import time
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

SECONDS_OF_PATIENCE = 10.0
"""A run that is started again may find the one before it in its last moments."""


@contextmanager
def locked(folder: Path, *, cure: str = "give this run another name=...") -> Iterator[None]:
    """Hold the lock of a folder, which is made if it does not exist.

    Args:
        folder: To be written by this process alone.
        cure: How the user gives the work another folder.

    Raises:
        ValueError: If another process holds it; the message names host and process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        _take(file, folder, cure)
        file.truncate(0)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(f"host {socket.gethostname()}, process {os.getpid()}, since {now}\n")
        file.flush()
        yield


def _take(file: IO[str], folder: Path, cure: str) -> None:
    until = time.monotonic() + SECONDS_OF_PATIENCE
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # what a lock held elsewhere raises
            if time.monotonic() < until:
                time.sleep(0.2)
                continue
            file.seek(0)
            holder = file.read().strip() or "its host and number are not known"
            raise ValueError(
                f"{folder} is being written by another process ({holder}): wait until it "
                f"has ended, or {cure}"
            ) from None
        except OSError as error:
            logger.info(
                "%s is on a file system without locks (%s): take care that no other "
                "process writes there",
                folder,
                error.strerror,
            )
        return
