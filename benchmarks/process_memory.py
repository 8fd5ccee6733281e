"""Memory of a process and of all that it started, sampled while they run."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTERVAL = 0.5  # s


@dataclass
class MemoryTrack:
    """Samples of one family of processes.

    Attributes:
        megabytes: What they hold together, memory that they share counted once, at each
            sample.
    """

    megabytes: list[float] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """The largest sample, MB."""
        return max(self.megabytes, default=0.0)

    @property
    def growth(self) -> float:
        """Peak of the last third of the time over that of the middle one."""
        third = len(self.megabytes) // 3
        if third == 0:
            return 1.0
        middle, last = self.megabytes[third : 2 * third], self.megabytes[2 * third :]
        return max(last) / max(middle)


@contextmanager
def memory_tracked(process: int) -> Iterator[MemoryTrack]:
    """Sample a process and its descendants twice a second."""
    track, done = MemoryTrack(), threading.Event()

    def sample() -> None:
        while not done.wait(_INTERVAL):
            if found := family_memory(process):
                track.megabytes.append(found)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield track
    finally:
        done.set()
        thread.join()


def family_memory(process: int | None = None) -> float:
    """MB that a process and its descendants hold together, shared memory counted once.

    Args:
        process: Its number; this one by default.
    """
    return sum(_family(process, "smaps_rollup", "Pss:"))


def own_memory(process: int | None = None) -> list[float]:
    """MB of a process and of each descendant, without pages of mapped files.

    Args:
        process: Its number; this one by default.
    """
    return _family(process, "status", "RssAnon:")


def _family(process: int | None, file: str, name: str) -> list[float]:
    first, found = process or os.getpid(), []
    for number in [first, *_descendants(first)]:
        try:
            lines = Path(f"/proc/{number}/{file}").read_text().splitlines()
        except (OSError, ProcessLookupError):
            continue  # it ended meanwhile
        sizes = [line.split()[1] for line in lines if line.startswith(name)]
        found += [float(size) / 1024 for size in sizes]
    return found


def _descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found, queue = [], [process]
    while queue:
        queue += children.get(queue[0], [])
        found += children.get(queue.pop(0), [])
    return found
