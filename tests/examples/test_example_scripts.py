"""The examples in their reduced form, with untrained or barely trained models."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mace_train.checkpoints.model_file import save_model

ROOT = Path(__file__).parents[2]


def needs(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'mace-train[examples]'")


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / script), *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def gates_of(folder: Path) -> dict:
    rows = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    assert all(
        set(row) == {"name", "value", "limit", "passed", "published"} for row in rows
    )
    return {row["name"]: row for row in rows}
