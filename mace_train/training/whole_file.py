"""Files that are complete or absent, whatever happens while they are written.

Floor 4. They are written under another name, brought to the disk, and renamed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PARTIAL = ".partial"
"""End of the name of a file that is being written."""


def partial_name(path: Path) -> Path:
    """Where a file is written until it is complete."""
    return path.with_name(path.name + PARTIAL)


def write_whole(path: Path, text: str) -> None:
    """Write a text file; an older one stays until the new one is complete."""
    partial = partial_name(path)
    partial.write_text(text, encoding="utf-8")
    finish_file(partial, path)


def finish_file(partial: Path, path: Path) -> None:
    """Bring a written file to the disk and give it its name in one step."""
    bring_to_disk(partial)
    partial.replace(path)
    bring_to_disk(path.parent)


def bring_to_disk(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
