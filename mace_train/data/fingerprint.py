"""A short name for files as they are now, the settings, and the code that reads them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from mace_train import __version__


def fingerprint(files: Sequence[Path], settings: Mapping[str, object]) -> str:
    """A name that differs if anything that a preparation depends on differs.

    Args:
        files: Existing files, told apart by path, size and time of change.
        settings: Plain values.
    """
    digest = hashlib.sha256()
    for path in files:
        state = path.stat()
        name = os.path.abspath(path)  # noqa: PTH100 - ten times faster for 100,000 files
        digest.update(repr((name, state.st_size, state.st_mtime_ns)).encode())
    identity = {"settings": settings, "version": __version__, "code": _code()}
    digest.update(json.dumps(identity, sort_keys=True).encode())
    return f"{files[0].stem[:40]}-{digest.hexdigest()[:16]}"


@lru_cache(maxsize=1)
def _code() -> str:
    """Checksum of the code in this folder."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()
