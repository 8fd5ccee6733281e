"""How much memory a piece of work takes at most, and how much there is for it.

Floor 4. On a GPU torch counts what it hands out. On a CPU only the resident memory of the
process can be read, which does not fall when tensors are freed; so what is free goes back
to the system first, and Linux is asked to forget its highest mark. Where it does not, a
peak that an earlier one hides is not known, and is not made up.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch

_KILOBYTE = 1024
_NO_LIMIT = 2**60  # what older kernels write for none


@dataclass(frozen=True)
class MemoryRoom:
    """Memory that one process may fill, what it holds already included.

    Attributes:
        num_bytes: Its size.
        source: Where the number comes from.
    """

    num_bytes: int
    source: str


class MemoryGauge(ABC):
    """Measures the memory of this process on a device."""

    @abstractmethod
    def begin(self) -> int:
        """Forget earlier peaks; what is held now, in bytes."""

    @abstractmethod
    def peak(self) -> int | None:
        """The most that was held since `begin`, in bytes; None where it is not known."""

    @abstractmethod
    def room(self, num_processes: int) -> MemoryRoom | None:
        """What each of so many processes on this machine may hold; None: not known."""


def memory_gauge(device: torch.device) -> MemoryGauge:
    """The gauge for a device."""
    return GPUMemory(device) if device.type == "cuda" else HostMemory()


class GPUMemory(MemoryGauge):
    """Memory that torch hands out on a GPU.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def begin(self) -> int:
        """Forget earlier peaks."""
        torch.cuda.reset_peak_memory_stats(self._device)
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """The most that tensors took; what torch keeps beside them is not counted."""
        return torch.cuda.max_memory_allocated(self._device)

    def room(self, num_processes: int) -> MemoryRoom:  # noqa: ARG002 - one GPU a process
        """What is free on the GPU, and what torch holds."""
        free, total = torch.cuda.mem_get_info(self._device)
        held = torch.cuda.memory_reserved(self._device)
        name = torch.cuda.get_device_name(self._device)
        return MemoryRoom(free + held, f"free of {total / 1e9:.0f} GB of {name}")


class HostMemory(MemoryGauge):
    """Resident memory of this process.

    Args:
        proc: Where Linux tells of processes; another folder in tests.
        cgroups: Where it tells of their limits.
    """

    def __init__(
        self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
    ) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._resets = True
        self._highest_before = 0

    def begin(self) -> int:
        """Give back what is free, and forget earlier peaks where that is allowed."""
        _give_back()
        try:
            (self._proc / "self/clear_refs").write_text("5")
        except OSError:
            self._resets = False
        self._highest_before = self._highest()
        return self._field("self/status", "VmRSS") or self._highest_before

    def peak(self) -> int | None:
        """The most that was resident."""
        highest = self._highest()
        is_known = self._resets or highest > self._highest_before
        return highest if is_known and highest else None

    def room(self, num_processes: int) -> MemoryRoom | None:
        """An equal share of what is available, and of the limit of the job."""
        held = self._field("self/status", "VmRSS") or 0
        found = []
        available = self._field("meminfo", "MemAvailable")
        if available is not None:
            found.append((available + held, "memory available here"))
        left = self._left_in_cgroup()
        if left is not None:
            found.append((left + held, "the limit of this job's cgroup"))
        if not found:
            return None
        num_bytes, source = min(found)
        if num_processes > 1:
            source += f", shared by {num_processes} processes"
        return MemoryRoom(num_bytes // num_processes, source)

    def _highest(self) -> int:
        mark = self._field("self/status", "VmHWM")
        return _highest_ever() if mark is None else mark

    def _field(self, file: str, name: str) -> int | None:
        """Bytes of a line such as ``VmRSS:   1234 kB``."""
        for line in _lines(self._proc / file):
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * _KILOBYTE
        return None

    def _left_in_cgroup(self) -> int | None:
        """The least that is left in this process's cgroup and those above it."""
        left = []
        for line in _lines(self._proc / "self/cgroup"):
            _, controllers, name = line.split(":", 2)
            if controllers in ("", "memory"):
                is_old = controllers == "memory"
                base = self._cgroups / "memory" if is_old else self._cgroups
                folder = base / name.lstrip("/")
                for place in (folder, *folder.parents):
                    if place == base or base in place.parents:
                        left.append(_left_below_limit(place, is_old=is_old))
        return min((value for value in left if value is not None), default=None)


def _left_below_limit(folder: Path, *, is_old: bool) -> int | None:
    """Limit less what is used, files that are only cached not counted."""
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
    limit_name, used_name, cached_name = (
        names if is_old else ("memory.max", "memory.current", "file")
    )
    limit, used = _lines(folder / limit_name), _lines(folder / used_name)
    if not limit or not used or not limit[0].isdigit() or int(limit[0]) > _NO_LIMIT:
        return None
    cached = [
        int(line.split()[1])
        for line in _lines(folder / "memory.stat")
        if line.split()[:1] == [cached_name]
    ]
    return max(int(limit[0]) - int(used[0]) + sum(cached), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _give_back() -> None:
    """Give back to the system what is free in the heap, where the C library can."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # macOS, musl; Windows
        return


def _highest_ever() -> int:
    """The most that was ever resident, where there is no /proc."""
    if os.name != "posix":
        return 0
    import resource

    unit = 1 if sys.platform == "darwin" else _KILOBYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
