"""Let a run keep the memory that it frees, as it asks for the same again in the next step.

Floor 6, the standard library only. glibc hands large buffers back to the kernel, which
clears every page anew when they are asked for again: 40,000 page faults and 5 % of the time
of a training step of the medium MACE-MP-0. The setting is that of the process, so
only the commands make it; what is called from Python leaves the caller's process alone.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ALLOCATOR_VARIABLE = "MACE_TRAIN_ALLOCATOR"
"""``system`` in this environment variable leaves the allocator as it is."""

# Names of malloc.h and values for mallopt(3), whose values are C ints. A largest number of
# mapped buffers works with every glibc; a threshold above 32 MiB only with new ones.
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2
_SETTINGS = (
    (_MMAP_MAX, 0),  # large buffers come from the heap like small ones
    (_TRIM_THRESHOLD, -1),  # the heap never shrinks ...
    (_TOP_PAD, 64 * 2**20),  # ... and grows by this many bytes at a time
)

_state = {"kept": False}


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Make the process keep what it frees, unless the user has chosen otherwise.

    Forked loader workers inherit the setting, spawned ones and other ranks do not: ranks
    run the command, which makes it there too.

    Args:
        environment: Where the user may have chosen.

    Returns:
        Whether it was done: only with glibc, and only if neither ``MACE_TRAIN_ALLOCATOR``
        nor glibc's own variables nor a preloaded allocator say otherwise.
    """
    if _chosen_by_user(environment) or not _has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    _state["kept"] = all(mallopt(name, value) == 1 for name, value in _SETTINGS)
    return _state["kept"]


def describe_allocator() -> str:
    """What a log should say of the memory of this process."""
    if _state["kept"]:
        return f"kept for the next step ({ALLOCATOR_VARIABLE}=system: given back)"
    return "as the system and the environment have it"


def _chosen_by_user(environment: Mapping[str, str]) -> bool:
    """Whether the environment says something about allocation.

    >>> [_chosen_by_user({name: "0"}) for name in ("MALLOC_ARENA_MAX", "MALLOC_TOP_PAD_")]
    [False, True]
    """
    return (
        environment.get(ALLOCATOR_VARIABLE) == "system"
        or "malloc" in environment.get("GLIBC_TUNABLES", "")
        or "malloc" in environment.get("LD_PRELOAD", "")  # jemalloc, tcmalloc, mimalloc
        or any(
            name.startswith("MALLOC_") and not name.startswith("MALLOC_ARENA_")
            for name in environment
        )
    )


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows; macOS; musl
        return False
