import json
import subprocess

import numpy as np

from mace_train import __version__
from mace_train.cli.provenance import git_commit, statistics_record, versions
from mace_train.data.statistics import Statistics


def git(folder, *words):
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True
    )


def test_versions_of_what_numbers_depend_on_are_recorded():
    found = versions()
    assert found["mace-train"] == __version__
    assert {"python", "torch", "e3nn", "lightning", "numpy"} <= set(found)


def test_the_commit_of_a_checkout_is_recorded_and_changes_are_marked(tmp_path):
    source = tmp_path / "program.py"
    source.write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = git_commit(source)
    assert len(clean) == 40
    source.write_text("2")
    assert git_commit(source) == f"{clean}-dirty"


def test_a_package_installed_inside_somebody_s_repository_has_no_commit(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "installed.py").touch()
    assert git_commit(tmp_path / "installed.py") is None


def test_a_file_outside_any_repository_has_no_commit(tmp_path):
    (tmp_path / "alone.py").touch()
    assert git_commit(tmp_path / "alone.py") is None


def test_statistics_are_recorded_as_plain_values():
    statistics = Statistics(
        avg_num_neighbors=12.5,
        scale=0.8,
        shift=0.1,
        atomic_energies=np.array([-1.0, -2.0]),
        determined=np.array([True, False]),
        e0_source="least_squares",
        atomic_numbers=(3, 8),
        num_frames=7,
        num_atoms=28,
        num_edges=350,
        atom_counts=np.array([14, 14]),
    )
    record = json.loads(json.dumps(statistics_record(statistics)))
    assert record["atomic_energies"] == [-1.0, -2.0]
    assert record["determined"] == [True, False]
    assert record["avg_num_neighbors"] == 12.5
