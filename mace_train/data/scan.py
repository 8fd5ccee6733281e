"""A first look at the user's files: their checksums, and where their frames begin.

Frames are only counted, not read, at the speed of the disk; so the work can be cut into
equal pieces, a killed preparation knows what is left, and the progress bar knows the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from mace_train.data.file_kinds import frame_files
from mace_train.data.frame_formats import FRAME_FORMATS
from mace_train.data.frame_source import FrameFile, Mark
from mace_train.data.parallel import run_parallel

_FILES_AT_ONCE = 500  # of a worker: small files are many


@dataclass(frozen=True, slots=True)
class Source:
    """One of the user's files, or a member of an archive.

    Attributes:
        file: The file.
        name: What splits and messages call it: the end of its path that no other file
            shares.
        sha256: Checksum of its bytes.
        num_frames: Frames that could be counted; the reader has the last word.
        marks: Places where reading can begin, at most ``stride`` frames apart.
    """

    file: FrameFile
    name: str
    sha256: str
    num_frames: int
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class _Batch:
    """Files that one process looks at in turn."""

    files: tuple[FrameFile, ...]
    names: tuple[str, ...]
    stride: int


def scan_sources(paths: Sequence[Path], *, stride: int, workers: int = 1) -> list[Source]:
    """Count the frames of files and compute their checksums.

    Args:
        paths: Files of frames, and archives of such files.
        stride: Largest distance in frames between marks.
        workers: Processes.

    Raises:
        ValueError: If a file is damaged as a whole, or a package to read it is missing.
    """
    files = [file for path in paths for file in frame_files(path)]
    names = short_names([file.full_path for file in files])
    size = max(1, min(_FILES_AT_ONCE, -(-len(files) // workers)))
    batches = [
        _Batch(tuple(files[k : k + size]), tuple(names[k : k + size]), stride)
        for k in range(0, len(files), size)
    ]
    found = run_parallel(_scan, batches, workers=workers)
    return [source for sources in found for source in sources]


def short_names(paths: Sequence[PurePath]) -> list[str]:
    """The shortest ends of paths, in whole parts, that tell the files apart.

    >>> short_names([Path("/data/a/train.xyz"), Path("/data/b/train.xyz"), Path("/c.xyz")])
    ['a/train.xyz', 'b/train.xyz', 'c.xyz']
    """
    parts = [Path(path).absolute().parts for path in paths]
    names = [one[-1] for one in parts]
    lengths = [1] * len(parts)
    open_places: Sequence[int] = range(len(parts))
    while True:
        places: dict[str, list[int]] = {}
        for place in open_places:
            places.setdefault(names[place], []).append(place)
        open_places = [
            place
            for group in places.values()
            if len(group) > 1 and len({parts[place] for place in group}) > 1
            for place in group
        ]
        if not open_places:
            return names
        for place in open_places:
            lengths[place] += 1
            names[place] = "/".join(parts[place][-lengths[place] :])


def _scan(batch: _Batch, tick: Callable[[int], None]) -> list[Source]:
    """Look at some files (in a worker process)."""
    sources = []
    for file, name in zip(batch.files, batch.names):
        contents = FRAME_FORMATS[file.form].scan(file, stride=batch.stride)
        num_frames, marks, sha256 = contents
        sources.append(Source(file, name, sha256, num_frames, marks))
        tick(num_frames)
    return sources
