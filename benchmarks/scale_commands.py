"""Command lines of the package, run as a user runs them, one thread a process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def run_command(command: str, *arguments: str, folder: Path | None = None) -> str:
    """What a command prints; it has to succeed.

    Args:
        command: ``mace-train`` or another of this environment, or a Python file here.
        arguments: Its arguments.
        folder: Where it runs.
    """
    with started(command, *arguments, folder=folder) as process:
        output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(
            f"{command} {' '.join(arguments)} ended with {process.returncode}:\n{errors}"
        )
    return output


@contextmanager
def started(
    command: str, *arguments: str, folder: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A command while it runs; it is killed at the end of the block."""
    here = Path(__file__).parent / command
    begin = [str(Path(sys.executable).with_name(command))]
    if here.suffix == ".py":
        begin = [sys.executable, str(here)]
    process = subprocess.Popen(
        [*begin, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
