"""Examples as a user runs them: from the command line, in a folder."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def needs(*packages: str) -> None:
    """Skip the test, with the reason, where a package is absent."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'mace-train[examples]'")


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
    """A script of examples/, on one thread; what it printed is kept."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def gates_of(folder: Path) -> dict:
    """The rows of gates.json by their names."""
    rows = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    assert all(
        set(row) == {"name", "value", "limit", "passed", "published"} for row in rows
    )
    return {row["name"]: row for row in rows}
