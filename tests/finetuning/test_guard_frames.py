import numpy as np
import pytest
import torch
from ase.geometry import get_distances
from small_crystals import R_MAX, make_frame, small_model

from mace_train.checkpoints.model_file import save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.elements import MP0_ATOMIC_NUMBERS, ElementTable
from mace_train.finetuning.guard_frames import find_guard
from mace_train.finetuning.parent_labels import predict_structures
from mace_train.graph import AtomicGraph


def model_file(tmp_path, frames, *, heads=("Default",), places=None):
    model = small_model(heads=heads)
    places = places or [0] * len(frames)
    graphs = [
        AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=R_MAX, head=place)
        for atoms, place in zip(frames, places)
    ]
    path = tmp_path / "model.safetensors"
    save_model(path, model, metadata={}, probes=make_probes(model, graphs))
    return path, model


def test_probe_frames_of_the_parent_are_the_guard(tmp_path):
    frames = [make_frame(0), make_frame(1, molecule=True), make_frame(2)]
    path, model = model_file(tmp_path, frames)
    found = find_guard(path, model)
    assert found.origin == "3 probe frames of the parent"
    for atoms, given in zip(found.structures, frames):
        assert np.allclose(atoms.positions, given.positions)
        assert np.allclose(atoms.cell.array, given.cell.array)
        assert atoms.pbc.tolist() == given.pbc.tolist()
        assert not atoms.info


def test_many_probe_frames_are_thinned_out_evenly(tmp_path):
    path, model = model_file(tmp_path, [make_frame(seed) for seed in range(9)])
    found = find_guard(path, model, max_frames=3)
    assert [atoms.positions[0, 0] for atoms in found.structures] == [
        pytest.approx(make_frame(seed).positions[0, 0]) for seed in (0, 4, 8)
    ]


def test_frames_that_the_fine_tuned_model_cannot_predict_are_left_out(tmp_path):
    frames = [make_frame(0), make_frame(1, symbols=("Li",)), make_frame(2)]
    path, model = model_file(tmp_path, frames)
    found = find_guard(path, model, elements=ElementTable((3,)))
    assert [atoms.get_chemical_formula() for atoms in found.structures] == ["Li4"]
    assert found.origin == ("1 probe frames of the parent (2 with other elements left out)")


def test_probe_frames_of_the_asked_head_are_taken(tmp_path):
    frames = [make_frame(seed) for seed in range(3)]
    path, model = model_file(tmp_path, frames, heads=("a", "b"), places=[0, 1, 1])
    assert len(find_guard(path, model, head="a").structures) == 1
    assert len(find_guard(path, model, head="b").structures) == 2
    with pytest.raises(ValueError, match="several heads"):
        find_guard(path, model)


def test_without_probe_frames_crystals_and_dimers_of_all_elements_are_built(tmp_path):
    model = small_model()
    path = tmp_path / "model.safetensors"
    save_model(path, model, metadata={})
    found = find_guard(path, model)
    assert "crystals and dimers" in found.origin
    crystals = [atoms for atoms in found.structures if atoms.pbc.all()]
    dimers = [atoms for atoms in found.structures if not atoms.pbc.any()]
    assert {tuple(sorted(set(a.numbers.tolist()))) for a in crystals} == {
        (3,)
    }  # solid oxygen is of molecules
    assert {tuple(sorted(a.numbers.tolist())) for a in dimers} == {(3, 3), (3, 8), (8, 8)}
    assert len(crystals) + len(dimers) == len(found.structures)
    assert all(2 <= len(atoms) <= 16 for atoms in found.structures)
    for said in predict_structures(found.structures, model):
        assert np.linalg.norm(said.forces, axis=1).max() < 30.0
    large = [said.forces for said in predict_structures(crystals, model)]
    assert max(np.abs(forces).max() for forces in large) > 1e-3  # no symmetry hides them


def test_built_frames_are_reproducible_and_follow_the_seed():
    model = small_model()
    first, again, other = (
        find_guard(None, model, seed=seed).structures for seed in (0, 0, 1)
    )
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(first, again))
    crystals = [next(a for a in one if a.pbc.all()) for one in (first, other)]
    assert not np.allclose(*(atoms.positions for atoms in crystals))


def test_few_frames_show_all_of_many_elements():
    model = small_model(MP0_ATOMIC_NUMBERS)
    found = find_guard(None, model, max_frames=100)
    assert 89 <= len(found.structures) <= 100
    shown = {int(number) for atoms in found.structures for number in atoms.numbers}
    assert shown == set(MP0_ATOMIC_NUMBERS)
    assert sum(not atoms.pbc.any() for atoms in found.structures) >= 10
    for atoms in found.structures:  # no atoms in each other
        _, lengths = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        assert lengths[~np.eye(len(atoms), dtype=bool)].min() > 0.5


def test_a_parent_with_absurd_forces_everywhere_is_refused():
    model = small_model()
    model.scale_shift.scale.fill_(1e9)
    with pytest.raises(ValueError, match=r"data.guard=FILE"):
        find_guard(None, model)
    with torch.no_grad():
        next(model.readouts.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        find_guard(None, model)
