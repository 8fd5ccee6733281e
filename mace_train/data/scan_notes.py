"""What a scan has found, noted beside the shards until they are complete.

A preparation that is started again so need not look through all files once more.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mace_train.data.frame_source import FrameFile, Mark
from mace_train.data.scan import Source

_NAME = "scan.jsonl"


def noted_scan(
    folder: Path, fingerprint: str, scan: Callable[[], list[Source]]
) -> list[Source]:
    """What an earlier scan noted about the same files, or else a new scan, noted.

    Args:
        folder: Folder of the shards.
        fingerprint: Of the files and what else the scan depends on.
        scan: Looks through the files.
    """
    path = folder / _NAME
    try:
        with path.open(encoding="utf-8") as file:
            if json.loads(file.readline()) == fingerprint:
                return [_source(json.loads(line)) for line in file]
    except (OSError, ValueError, TypeError):
        pass  # there are none, or those of another program
    sources = scan()
    temporary = folder / f".{_NAME}.{socket.gethostname()}.{os.getpid()}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(fingerprint) + "\n")
        file.writelines(json.dumps(_values(source)) + "\n" for source in sources)
    temporary.replace(path)
    return sources


def forget_scan(folder: Path) -> None:
    """Delete the notes; called when the shards are complete."""
    (folder / _NAME).unlink(missing_ok=True)


def _values(source: Source) -> list[Any]:
    """A source as plain values that JSON can hold."""
    file = source.file
    return [
        [str(file.path), file.form, file.member, file.begin, file.size],
        source.name,
        source.sha256,
        source.num_frames,
        source.marks,
    ]


def _source(values: list[Any]) -> Source:
    (path, *rest), name, sha256, num_frames, marks = values
    file = FrameFile(Path(path), *rest)
    return Source(file, name, sha256, num_frames, tuple(Mark(*mark) for mark in marks))
