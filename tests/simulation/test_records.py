import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read

from mace_train.simulation.observables import ClosestPair, Observables
from mace_train.simulation.records import HEADER, Records, labelled_frame, read_log

SEEN = Observables(
    20, 0.04, 300.0, 290.5, -3.25, -3.0, -3.125, 0.5, ClosestPair(0, 1, 2.75, 2.6, 2.5)
)


def a_frame():
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] -= 20.0  # outside the cell, and there it stays
    atoms.set_momenta(np.ones((4, 3)))
    return labelled_frame(atoms, np.full((4, 3), 0.25), SEEN)


def opened(folder) -> Records:
    records = Records(folder)
    records.cut((0, 0))
    return records


def test_rows_and_frames_come_back(tmp_path):
    records = opened(tmp_path)
    records.add_row(SEEN, 1.5)
    records.add_row(
        Observables(30, 0.06, None, 290.5, -3.25, -3.0, -3.125, 0.5, None), None
    )
    records.add_frame(a_frame())
    records.close()
    log = read_log(tmp_path)
    assert log["step"].tolist() == [20, 30]
    assert log["pressure_GPa"][0] == 1.5
    assert log["min_distance_A"][0] == 2.5
    for name in ("target_K", "min_distance_A", "pressure_GPa"):
        assert np.isnan(log[name][1])
    frame = read(tmp_path / "trajectory.extxyz")
    np.testing.assert_allclose(frame.positions, a_frame().positions, atol=1e-8)
    np.testing.assert_allclose(frame.get_forces(), 0.25)
    assert (frame.get_potential_energy(), frame.info["step"]) == (-3.25, 20)


def test_what_was_written_after_a_state_is_cut_off(tmp_path):
    records = opened(tmp_path)
    records.add_row(SEEN, 1.5)
    records.add_frame(a_frame())
    sizes = records.settle()
    kept = (tmp_path / "trajectory.extxyz").read_bytes()
    records.add_row(SEEN, 2.5)
    records.add_frame(a_frame())
    records.close()
    again = Records(tmp_path)
    again.cut(sizes)
    again.add_row(SEEN, 3.5)
    again.close()
    assert read_log(tmp_path)["pressure_GPa"].tolist() == [1.5, 3.5]
    assert (tmp_path / "trajectory.extxyz").read_bytes() == kept


def test_a_file_that_has_become_shorter_is_named(tmp_path):
    opened(tmp_path).close()
    records = Records(tmp_path)
    with pytest.raises(
        ValueError, match=rf"log\.csv has {len(HEADER)} bytes, but had 5000 when"
    ):
        records.cut((5000, 0))
    records.close()


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    records = opened(tmp_path)
    code = (
        "import pathlib; from mace_train.simulation.records import Records\n"
        f"Records(pathlib.Path({str(tmp_path)!r}))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    records.close()
    assert "ValueError: another process runs in" in other.stderr
    assert "give another folder" in other.stderr


def test_a_folder_without_a_log_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no log\.csv: it is no folder of a run"):
        read_log(tmp_path)
    opened(tmp_path).close()
    with pytest.raises(ValueError, match=r"log\.csv has no row"):
        read_log(tmp_path)
