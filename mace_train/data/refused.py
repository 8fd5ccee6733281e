"""Refused frames: their list beside the shards, and the user's word to go on without them.

Shards of data with refused frames are finished, but not trained on before the user has
mended the frames or accepted the shards without them (``bad_frames=leave_out``).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from mace_train.data.problems import ProblemLog
from mace_train.data.shards import Shard

LIST_NAME = "refused.txt"

_ACCEPTED_NAME = "accepted.json"
_HEADER = "file\tframe\tformula\twhat is wrong\tcure\n"


class RefusedFramesError(ValueError):
    """Some frames cannot be used; the shards of all others are finished.

    Attributes:
        num_refused: How many.
        num_kept: Frames in the shards.
        listing: The file that lists them.
    """

    def __init__(
        self, message: str, *, num_refused: int, num_kept: int, listing: Path
    ) -> None:
        super().__init__(message)
        self.num_refused = num_refused
        self.num_kept = num_kept
        self.listing = listing


def write_list(folder: Path, problems: ProblemLog) -> Path:
    """Write the list of refused frames, one a line; none if there are none.

    Args:
        folder: Folder of the shards.
        problems: What was refused.
    """
    path = folder / LIST_NAME
    if not problems.refused:
        path.unlink(missing_ok=True)
        return path
    lines = [
        _line(
            place.source,
            place.number,
            place.formula,
            f"{what} ({detail})" if detail else what,
            problems.findings[what].cure,
        )
        for place, what, detail in problems.refused
    ]
    _replace(path, _HEADER + "".join(lines))
    return path


def accept(folder: Path, preparation: str, *, num_refused: int) -> None:
    """Record that the shards of a preparation are used without the refused frames."""
    choice = {
        "preparation": preparation,
        "bad_frames": "leave_out",
        "num_refused": num_refused,
    }
    _replace(folder / _ACCEPTED_NAME, json.dumps(choice) + "\n")


def withdraw_acceptance(folder: Path) -> None:
    """Forget what `accept` recorded."""
    (folder / _ACCEPTED_NAME).unlink(missing_ok=True)


def check_accepted(shards: Iterable[Shard]) -> None:
    """Refuse shards of data with refused frames that nobody accepted.

    Raises:
        ValueError: If there are any, with what to do.
    """
    counts: dict[tuple[Path, str], int] = {}
    for shard in shards:
        refused = shard.header.census["problems"].get("refused", ())
        if refused:
            key = (shard.path.parent, shard.preparation)
            counts[key] = counts.get(key, 0) + len(refused)
    for (folder, preparation), count in counts.items():
        if not _is_accepted(folder, preparation):
            raise ValueError(
                f"the shards in {folder} were made of data with {count} refused frames "
                f"(listed in {folder / LIST_NAME}), which nobody has looked at yet: mend "
                "these frames and prepare them again, or accept the shards without them by "
                "the same mace-prepare command with bad_frames=leave_out"
            )


def _is_accepted(folder: Path, preparation: str) -> bool:
    path = folder / _ACCEPTED_NAME
    try:
        return json.loads(path.read_text())["preparation"] == preparation
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _line(*values: object) -> str:
    return "\t".join(" ".join(str(value).split()) for value in values) + "\n"


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is there wholly or not at all."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    temporary.replace(path)
