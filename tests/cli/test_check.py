import subprocess
import sys
from pathlib import Path

import pytest


def mace_check(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "mace_train.cli.check", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PATH": "",
            "OMP_NUM_THREADS": "1",
        },
    )


EMT = ("calculator._target_=ase.calculators.emt.EMT", "elements=[Cu]", "output=out")


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        ((*EMT, "checks=[rotation,forces]"), 0, "rotation"),
        ((*EMT, "checks=forces", "limits.forces_fd=0"), 1, "1 of 1 checks failed"),
        ((*EMT, "checks=force"), 2, "did you mean forces?"),
    ],
)
def test_the_exit_code_says_whether_all_passed(tmp_path, words, exit_code, said):
    done = mace_check(tmp_path, *words)
    assert done.returncode == exit_code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out/checks.json").is_file() == (exit_code != 2)
