"""The oldest e3nn that we take (mace-torch pins it) gives the numbers of the newest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLDEST = "0.4.4"
TESTS = ("tests/model", "tests/laws", "tests/reference/test_official_values.py")
ON_IMPORT = (  # of e3nn 0.4.4 under new versions of torch and Python
    "ignore::DeprecationWarning",
    "ignore:.*TorchScript.*",
)


@pytest.mark.slow
def test_the_model_is_the_same_under_the_oldest_e3nn(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    installed = subprocess.run(
        [*command, "--target", str(tmp_path), f"e3nn=={OLDEST}"],
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"e3nn {OLDEST} cannot be installed here: {installed.stderr[-300:]}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    version = "import importlib.metadata as m; print(m.version('e3nn'))"
    found = subprocess.run(
        [sys.executable, "-c", version], capture_output=True, text=True, env=environment
    )
    assert found.stdout.strip() == OLDEST

    warnings = [word for text in ON_IMPORT for word in ("-W", text)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *warnings, *TESTS],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert run.returncode == 0, run.stdout[-3000:]
