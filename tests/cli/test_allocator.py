"""Memory that is freed stays with the process, unless the user has chosen otherwise."""

import os
import subprocess
import sys

import pytest

from mace_train.cli import allocator
from mace_train.cli.allocator import describe_allocator, keep_freed_memory

pytestmark = pytest.mark.skipif(not allocator._has_glibc(), reason="needs glibc")

CHOICES = ("MALLOC_", "MACE_TRAIN_ALLOCATOR", "GLIBC_TUNABLES", "LD_PRELOAD")

BUFFERS = """
import multiprocessing, resource, sys
from mace_train.cli.command import run_command

def faults(queue=None):
    import ctypes
    malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
    malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    counts = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        buffers = [malloc(48 << 20) for _ in range(2)]
        for buffer in buffers:
            ctypes.memset(buffer, 1, 48 << 20)
            free(buffer)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    if queue is None:
        return counts[-1]
    queue.put(counts[-1])

if __name__ == "__main__":
    start, sys.argv = sys.argv[1], ["mace-train", "--version"]
    run_command("train")
    if start == "here":
        print(faults())
    else:
        context = multiprocessing.get_context(start)
        queue = context.Queue()
        process = context.Process(target=faults, args=(queue,))
        process.start()
        print(queue.get())
        process.join()
"""
PAGES = 2 * (48 << 20) // os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def _faults(tmp_path, start="here", **variables) -> int:
    """Page faults of a round of large buffers that was there ten times before."""
    script = tmp_path / "buffers.py"
    script.write_text(BUFFERS)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(CHOICES)}
    done = subprocess.run(
        [sys.executable, script, start],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def test_a_command_asks_the_kernel_but_once_for_the_same_memory(tmp_path):
    assert _faults(tmp_path) < PAGES / 100


@pytest.mark.parametrize(
    "variables",
    [
        {"MACE_TRAIN_ALLOCATOR": "system"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_the_choice_of_the_user_stays(tmp_path, variables):
    # Large buffers are taken from the kernel each time (perhaps in huge pages).
    assert _faults(tmp_path, **variables) > PAGES / 1000


def test_a_forked_worker_inherits_the_setting_and_a_spawned_one_has_the_default(tmp_path):
    assert _faults(tmp_path, "fork") < PAGES / 100
    assert _faults(tmp_path, "spawn") > PAGES / 1000


@pytest.mark.parametrize(
    "environment",
    [
        {"MACE_TRAIN_ALLOCATOR": "system"},
        {"MALLOC_MMAP_THRESHOLD_": "4294967296"},
        {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"},
        {"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"},
    ],
)
def test_nothing_is_set_where_the_environment_has_a_say(environment, monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # would fail if it were called
    assert keep_freed_memory(environment) is False


def test_nothing_is_set_without_glibc(monkeypatch):
    monkeypatch.setattr(allocator, "_has_glibc", lambda: False)
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)
    assert keep_freed_memory({}) is False


def test_other_variables_say_nothing_about_allocation(monkeypatch):
    calls = []

    class Library:
        def __init__(self, name):
            self.mallopt = lambda name, value: calls.append((name, value)) or 1

    monkeypatch.setattr(allocator.ctypes, "CDLL", Library)
    others = {"MALLOC_ARENA_MAX": "4", "LD_PRELOAD": "libdarshan.so", "HOME": "/home"}
    monkeypatch.setitem(allocator._state, "kept", False)
    assert "environment" in describe_allocator()
    assert keep_freed_memory(others) is True
    assert len(calls) == 3
    assert "MACE_TRAIN_ALLOCATOR=system" in describe_allocator()
