"""Which frames go into which shard, decided before any is read.

The plan depends on the data and the settings alone, not on the number of workers or on what
an earlier run left behind; so shards of one plan can be told from those of any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mace_train.data.frame_source import Mark, Span
from mace_train.data.labels import LabelKeys
from mace_train.data.scan import Source
from mace_train.data.shard_writer import SCHEMA_VERSION


@dataclass(frozen=True)
class ReadSettings:
    """How the user's files are read (see `read_frames`), and cutoffs for edge counts."""

    keys: LabelKeys
    group_key: str
    max_force: float | None
    r_max: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold, without the cutoffs."""
        values = {**asdict(self), "keys": self.keys.to_dict()}
        del values["r_max"]
        return values


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive frames of one file.

    Attributes:
        source: The file; without its marks, if they are many, to keep a job small.
        span: From which mark to which.
    """

    source: Source
    span: Span

    @property
    def num_frames(self) -> int:
        """Frames that could be counted; the reader has the last word."""
        start, stop = self.span
        return (self.source.num_frames if stop is None else stop.frame) - start.frame


@dataclass(frozen=True)
class ShardJob:
    """One shard to be.

    Attributes:
        path: Its file.
        pieces: The frames that go into it, in order.
        settings: How they are read.
        preparation: Identity of the whole plan.
        number: Place of the shard among all.
        num_shards: How many those are.
    """

    path: Path
    pieces: tuple[Piece, ...]
    settings: ReadSettings
    preparation: str
    number: int
    num_shards: int

    @property
    def num_frames(self) -> int:
        """Frames that could be counted."""
        return sum(piece.num_frames for piece in self.pieces)


def plan_shards(
    sources: Sequence[Source],
    output: Path,
    *,
    settings: ReadSettings,
    frames_per_shard: int,
) -> list[ShardJob]:
    """Cut the data into pieces and deal these to shards, in order.

    Args:
        sources: Files, scanned with marks at most ``frames_per_shard`` frames apart.
        output: Folder of the shards.
        settings: How frames are read.
        frames_per_shard: The most frames that go into a shard, where marks allow it.
    """
    shards: list[list[Piece]] = []
    room = 0
    for source in sources:
        marks = source.marks or (Mark(),)
        bare = replace(source, marks=()) if len(marks) > 1 else source
        for start, stop in zip(marks, [*marks[1:], None]):
            piece = Piece(bare, Span(start, stop))
            if not shards or piece.num_frames > room:
                shards.append([])
                room = frames_per_shard
            shards[-1].append(piece)
            room -= piece.num_frames
    identity = {
        "schema": SCHEMA_VERSION,
        "settings": settings.to_dict(),
        "r_max": settings.r_max,
        "frames_per_shard": frames_per_shard,
        "sources": [(source.name, source.sha256) for source in sources],
    }
    preparation = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return [
        ShardJob(
            output / f"shard-{number:05d}.h5",
            tuple(pieces),
            settings,
            preparation,
            number,
            len(shards),
        )
        for number, pieces in enumerate(shards)
    ]
