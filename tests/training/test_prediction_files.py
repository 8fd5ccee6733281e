import numpy as np
import pytest
from ase.io import read
from small_crystals import isolated_atom, make_frame, store_of, without

from mace_train.training.prediction_files import (
    COMMITTEE_EXTRAS,
    write_extxyz,
    write_parquet,
)
from mace_train.training.predictions import FramePrediction

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def store(tmp_path):
    """A crystal, a cluster, a crystal without energy, one without labels, an atom."""
    return store_of(
        tmp_path,
        [
            make_frame(0, group="mp-1", config_type="bulk"),
            make_frame(1, molecule=True, config_type="cluster"),
            without(make_frame(2), "energy"),
            without(make_frame(3), "energy", "forces", "stress"),
            isolated_atom("Li", -1.0),
        ],
    )


def predicted(store, index, *, committee=False):
    frame = store.frame(index)
    random = np.random.default_rng(index)
    forces = random.normal(size=(frame.num_atoms, 3))
    stress = random.normal(size=(3, 3)) if frame.pbc.all() else None
    spread = (0.5, 0.1 * forces, stress) if committee else (None, None, None)
    shares = np.arange(frame.num_atoms) / 7
    return frame, FramePrediction(index + 0.25, forces, stress, shares, *spread)


def parts_of(store, order=(3, 0, 1, 2, 4), **options):
    """The frames in two parts."""
    rows = [predicted(store, index, **options) for index in order]
    return [rows[:2], rows[2:]]


def test_extended_xyz_has_the_order_of_the_input_and_is_read_by_ase(store, tmp_path):
    write_extxyz(tmp_path / "p.extxyz", parts_of(store))
    frames = read(tmp_path / "p.extxyz", ":")
    assert [atoms.info["source_index"] for atoms in frames] == [3, 0, 1, 2, 4]
    crystal, (frame, expected) = frames[1], predicted(store, 0)
    assert crystal.info["mp_id"] == "mp-1"
    assert crystal.info["config_type"] == "bulk"
    assert crystal.info["source"] == "frames.xyz"
    assert crystal.info["reference_energy"] == frame.energy
    assert crystal.info["predicted_energy"] == 0.25
    assert np.allclose(crystal.arrays["predicted_forces"], expected.forces, atol=1e-8)
    assert np.allclose(crystal.arrays["predicted_node_energies"], np.arange(4) / 7)
    written = np.reshape(crystal.info["predicted_stress"], (3, 3))
    assert np.allclose(written, expected.stress)
    assert np.allclose(crystal.positions, frame.positions, atol=1e-8)


def test_what_a_frame_lacks_is_not_written(store, tmp_path):
    write_extxyz(tmp_path / "p.extxyz", parts_of(store, order=range(5)))
    frames = read(tmp_path / "p.extxyz", ":")
    assert "reference_stress" not in frames[1].info
    assert "predicted_stress" not in frames[1].info
    assert "reference_energy" not in frames[2].info
    assert "predicted_energy" in frames[2].info
    assert "reference_forces" not in frames[3].arrays
    assert "predicted_forces" in frames[3].arrays
    assert "predicted_energy_std" not in frames[0].info
    assert "predicted_forces_std" not in frames[0].arrays


def test_the_table_holds_the_same_to_the_last_digit(store, tmp_path):
    path = tmp_path / "p.parquet"
    extras = ("node_energies",)
    write_parquet(path, parts_of(store), group_keys=["mp_id"], extras=extras)
    assert parquet.ParquetFile(path).num_row_groups == 2
    rows = parquet.read_table(path).to_pylist()
    assert [row["source_index"] for row in rows] == [3, 0, 1, 2, 4]
    frame, expected = predicted(store, 0)
    row = rows[1]
    assert (row["source"], row["formula"], row["num_atoms"]) == ("frames.xyz", "Li2O2", 4)
    assert row["atomic_numbers"] == frame.atomic_numbers.tolist()
    assert (row["mp_id"], row["config_type"]) == ("mp-1", "bulk")
    assert row["predicted_energy"] == 0.25
    assert row["reference_energy"] == frame.energy
    assert np.array_equal(row["predicted_forces"], expected.forces)
    assert np.array_equal(row["reference_forces"], frame.forces)
    assert np.array_equal(np.reshape(row["predicted_stress"], (3, 3)), expected.stress)
    assert np.array_equal(row["predicted_node_energies"], expected.node_energies)


def test_what_a_frame_lacks_is_null_in_the_table(store, tmp_path):
    write_parquet(tmp_path / "p.parquet", parts_of(store, order=range(5)))
    rows = parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows[1]["predicted_stress"] is None
    assert rows[1]["reference_stress"] is None
    assert rows[2]["reference_energy"] is None
    assert rows[3]["reference_forces"] is None
    assert rows[4]["num_atoms"] == 1
    assert "predicted_node_energies" not in rows[0]
    assert "predicted_energy_std" not in rows[0]


def test_a_committee_has_columns_for_its_spread(store, tmp_path):
    parts = parts_of(store, committee=True)
    write_parquet(tmp_path / "p.parquet", parts, extras=COMMITTEE_EXTRAS)
    row = parquet.read_table(tmp_path / "p.parquet").to_pylist()[1]
    expected = predicted(store, 0, committee=True)[1]
    assert row["predicted_energy_std"] == 0.5
    assert np.array_equal(row["predicted_forces_std"], expected.forces_std)
    write_extxyz(tmp_path / "p.extxyz", parts)
    crystal = read(tmp_path / "p.extxyz", "1")
    assert np.allclose(crystal.arrays["predicted_forces_std"], expected.forces_std)
    assert crystal.info["predicted_energy_std"] == 0.5


def test_a_group_named_like_a_column_gets_a_name_of_its_own(store, tmp_path):
    write_parquet(tmp_path / "p.parquet", parts_of(store), group_keys=["formula"])
    assert "group_formula" in parquet.read_table(tmp_path / "p.parquet").column_names


@pytest.mark.parametrize("write", [write_extxyz, write_parquet])
def test_a_file_is_complete_or_absent(store, tmp_path, write):
    def failing():
        yield parts_of(store)[0]
        raise OSError("no space left")

    path = tmp_path / "predictions"
    path.write_text("older")
    with pytest.raises(OSError, match="no space left"):
        write(path, failing())
    assert path.read_text() == "older"


def test_no_frame_at_all_gives_an_empty_table(tmp_path):
    write_parquet(tmp_path / "p.parquet", [[]])
    assert parquet.read_table(tmp_path / "p.parquet").num_rows == 0
