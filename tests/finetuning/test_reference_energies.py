import json

import numpy as np
import pytest
from small_crystals import (
    datamodule_of,
    isolated_atom,
    make_frame,
    small_model,
    without,
    write_frames,
)

from mace_train.elements import ElementTable
from mace_train.finetuning.reference_energies import (
    _estimated,
    find_reference_energies,
)
from mace_train.training.parent_model import Parent


def labelled_by(model, frames, shifts):
    """Frames whose energies are the model's, and more for each atom of an element."""
    from mace_train.calculator import MACECalculator

    for atoms in frames:
        copied = atoms.copy()
        copied.calc = MACECalculator(model)
        energy = copied.get_potential_energy()
        more = sum(shifts.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols())
        atoms.info["energy"] = float(energy + more)
    return frames


def graphs_of(tmp_path, frames, model):
    module = datamodule_of(tmp_path, frames, valid_fraction=0.0, r_max=model.r_max)
    module.use_parent(Parent(model.elements), r_max=model.r_max)
    module.setup()
    return module.graphs(module.data.sets["train"])


@pytest.fixture
def model():
    return small_model((3, 8, 9))


def mixed_frames():
    """Compositions that tell Li, O and F apart."""
    kinds = [("Li", "O"), ("Li", "F"), ("Li", "O", "F"), ("Li",), ("Li", "Li", "O")]
    return [make_frame(i, symbols=kinds[i % len(kinds)]) for i in range(15)]


def test_a_shift_of_each_element_is_found_exactly(tmp_path, model):
    shifts = {"Li": 3.0, "O": -400.0, "F": 0.25}
    graphs = graphs_of(tmp_path, labelled_by(model, mixed_frames(), shifts), model)
    found = find_reference_energies(model, graphs, e0s="estimated")
    np.testing.assert_allclose(found.new - found.parent, [3.0, -400.0, 0.25], atol=1e-7)
    assert found.determined.all()
    assert found.offset_after < 1e-8 < found.offset_before
    assert found.is_other_reference
    assert found.num_frames.tolist() == [15, 9, 6]
    lines = found.table().splitlines()
    assert len(lines) == 4
    assert lines[2].split() == [
        "O", "9", f"{found.parent[1]:.6f}", f"{found.new[1]:.6f}", "-400.0000", "yes",
    ]  # fmt: skip


def test_one_composition_shifts_energies_and_is_said_not_to_tell_elements(
    tmp_path, model, caplog
):
    frames = [make_frame(i) for i in range(6)]
    graphs = graphs_of(tmp_path, labelled_by(model, frames, {"Li": 7.0}), model)
    found = find_reference_energies(model, graphs, e0s="estimated")
    # Li2O2: 14 eV a frame, by the shortest change of the two E0s
    np.testing.assert_allclose(found.new - found.parent, [3.5, 3.5, 0.0], atol=1e-7)
    assert found.determined.tolist() == [False, False, False]
    assert found.num_frames.tolist() == [6, 6, 0]
    assert found.offset_after < 1e-8
    found.tell()
    assert "do not tell the E0s of Li, O one by one" in caplog.text
    assert "not in your frames: 1 of the elements" in found.table()
    assert set(found.as_dict()["elements"]) == {"Li", "O"}


def test_compositions_that_hardly_vary_do_not_blow_up(tmp_path, model):
    """One odd atom among many must not take up the noise of all energies."""
    frames = labelled_by(model, [make_frame(i) for i in range(30)], {"Li": 1.0})
    noise = np.random.default_rng(0).normal(scale=0.05, size=len(frames))
    for atoms, error in zip(frames, noise):
        atoms.info["energy"] += float(error)
    graphs = graphs_of(tmp_path, frames, model)
    found = find_reference_energies(model, graphs, e0s="estimated")
    assert np.abs(found.new - found.parent).max() < 1.0


def estimated(compositions, change, *, noise, seed=0):
    """What is estimated of rows of counts whose energies per atom have a noise, eV."""
    counts = np.asarray(compositions, float)
    num_atoms = counts.sum(axis=1)
    errors = np.random.default_rng(seed).normal(scale=noise, size=len(counts))
    lacking = counts @ np.asarray(change, float) + num_atoms * errors
    return _estimated(counts, lacking, num_atoms)


def test_a_dilute_element_with_a_large_change_is_found():
    """One dopant among 192 atoms, in 10 of 500 frames."""
    rows = [[191, 1] if i % 50 == 0 else [192, 0] for i in range(500)]
    change, determined = estimated(rows, [0.5, -1000.0], noise=0.02)
    assert change == pytest.approx([0.5, -1000.0], abs=5.0)
    assert determined.tolist() == [True, False]  # a dopant's E0 is known to 1.2 eV
    change, determined = estimated(rows, [0.5, -1000.0], noise=1e-4)
    assert change == pytest.approx([0.5, -1000.0], abs=0.1)
    assert determined.all()


@pytest.mark.parametrize("seed", range(10))
def test_compositions_that_differ_less_than_noise_tells_keep_e0s_together(seed):
    """Fractions of 0.50 +- 0.002: least squares would be wrong by more than an eV."""
    share = 500 + np.random.default_rng(100 + seed).integers(-3, 4, 30)
    rows = np.stack([share, 1000 - share], axis=1)
    change, determined = estimated(rows, [2.0, 2.0], noise=0.02, seed=seed)
    assert not determined.any()
    assert change == pytest.approx([2.0, 2.0], abs=0.5)
    np.testing.assert_allclose(rows @ change / 1000, 2.0, atol=0.02)


def test_clear_compositions_tell_each_element_in_spite_of_noise():
    rows = [[1 + i % 5, 5 - i % 5] for i in range(40)]
    change, determined = estimated(rows, [3.0, -7.0], noise=0.02)
    assert determined.all()
    assert change == pytest.approx([3.0, -7.0], abs=0.05)


def test_as_many_frames_as_elements_are_fitted_exactly():
    rows = [[2, 1, 0], [1, 2, 0], [1, 1, 2]]
    change, _ = estimated(rows, [-400.0, 5.0, -2000.0], noise=0.0)
    assert change == pytest.approx([-400.0, 5.0, -2000.0], abs=0.01)


def test_energies_that_no_e0s_explain_are_warned_of(tmp_path, model, caplog):
    frames = labelled_by(model, mixed_frames(), {})
    for number, atoms in enumerate(frames):
        atoms.info["energy"] += 8.0 * (-1) ** number  # 2 eV/atom of two kinds
    found = find_reference_energies(
        model, graphs_of(tmp_path, frames, model), e0s="estimated"
    )
    assert not found.is_other_reference
    found.tell()
    assert "others would not take that up" in caplog.text
    assert "data.energy_key" in caplog.text


def test_the_parents_own_energies_stay(tmp_path, model, caplog):
    shifts = {"Li": 50.0}
    graphs = graphs_of(tmp_path, labelled_by(model, mixed_frames(), shifts), model)
    found = find_reference_energies(model, graphs, e0s="parent")
    assert found.new.tolist() == found.parent.tolist()
    assert found.offset_after == found.offset_before > 10
    found.tell()
    assert "plainly have different zeros" in caplog.text
    assert "Set finetune.e0s=estimated" in caplog.text


def test_frames_of_the_parents_kind_are_not_called_another_reference(tmp_path, model):
    graphs = graphs_of(tmp_path, labelled_by(model, mixed_frames(), {}), model)
    found = find_reference_energies(model, graphs, e0s="estimated")
    np.testing.assert_allclose(found.new, found.parent, atol=1e-7)
    assert not found.is_other_reference


def test_isolated_atoms_in_the_data_give_their_energies(tmp_path, model):
    frames = [make_frame(i) for i in range(6)]
    frames += [isolated_atom("Li", -201.0), isolated_atom("O", -2050.0)]
    graphs = graphs_of(tmp_path, frames, model)
    found = find_reference_energies(model, graphs, e0s="isolated_atoms")
    np.testing.assert_allclose(found.new[:2], [-201.0, -2050.0])
    assert found.new[2] == found.parent[2]
    assert found.determined.tolist() == [True, True, False]


def test_a_missing_isolated_atom_is_named_with_the_cure(tmp_path, model):
    frames = [*(make_frame(i) for i in range(6)), isolated_atom("Li", -201.0)]
    graphs = graphs_of(tmp_path, frames, model)
    with pytest.raises(ValueError, match=r"finetune\.e0s=isolated_atoms: no E0 of O"):
        find_reference_energies(model, graphs, e0s="isolated_atoms")


def test_a_file_gives_energies(tmp_path, model):
    path = tmp_path / "e0s.json"
    path.write_text(json.dumps({"Li": -1.5, "8": -2.5}))
    graphs = graphs_of(tmp_path, [make_frame(i) for i in range(5)], model)
    found = find_reference_energies(model, graphs, e0s=str(path))
    np.testing.assert_allclose(found.new[:2], [-1.5, -2.5])


def test_frames_without_energies_leave_the_parents(tmp_path, model):
    frames = [without(make_frame(i), "energy") for i in range(5)]
    graphs = graphs_of(tmp_path, frames, model)
    found = find_reference_energies(model, graphs, e0s="estimated")
    assert found.new.tolist() == found.parent.tolist()
    assert np.isnan(found.offset_before)
    assert found.as_dict()["offset_before"] is None
    assert not found.is_other_reference
    found.tell()


def test_the_parents_mode_is_put_back(tmp_path, model):
    model.train()
    write_frames(tmp_path / "some.xyz", [make_frame(0)])
    graphs = graphs_of(tmp_path, [make_frame(i) for i in range(3)], model)
    find_reference_energies(model, graphs, e0s="estimated")
    assert model.training
    assert model.elements == ElementTable((3, 8, 9))


def test_isolated_atoms_that_are_not_used_are_told_of(tmp_path, model, caplog):
    frames = labelled_by(model, [make_frame(i) for i in range(6)], {"Li": 7.0})
    frames += [isolated_atom("Li", -201.0), isolated_atom("O", -2050.0)]
    graphs = graphs_of(tmp_path, frames, model)
    find_reference_energies(model, graphs, e0s="estimated").tell()
    assert "your files hold isolated atoms: finetune.e0s=isolated_atoms" in caplog.text


def test_frames_without_energies_are_said_to_have_none(tmp_path, model):
    frames = [without(make_frame(i), "energy") for i in range(5)]
    found = find_reference_energies(
        model, graphs_of(tmp_path, frames, model), e0s="estimated"
    )
    assert "no energies" in found.table()
