import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from small_crystals import R_MAX, make_frame, small_model, store_of, without, write_frames

from mace_train.calculator import MACECalculator
from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.finetuning.parent_labels import (
    place_of_head,
    predict_structures,
    read_structures,
    write_parent_labels,
)

STRUCTURES = [make_frame(0), make_frame(1, molecule=True), bulk("Li") * (2, 1, 1)]


def labelled(tmp_path, structures=STRUCTURES, **options):
    path = tmp_path / "new" / "labels.extxyz"
    count = write_parent_labels(path, structures, small_model(), **options)
    assert count == len(structures)
    return open_store(path, keys=LabelKeys(), r_max=R_MAX, cache_dir=tmp_path / "cache")


def test_labels_are_what_the_calculator_says_of_the_same_structures(tmp_path):
    store = labelled(tmp_path)
    calculator = MACECalculator(small_model())
    for place, atoms in enumerate(STRUCTURES):
        frame = store.frame(place)
        copy = Atoms(atoms.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        copy.calc = calculator
        assert np.abs(frame.positions - atoms.positions).max() <= 1e-8
        assert frame.energy == pytest.approx(copy.get_potential_energy(), abs=1e-10)
        assert np.abs(frame.forces - copy.get_forces()).max() < 1e-8  # digits of the file
        if frame.pbc.all():
            stress = copy.get_stress(voigt=False)
            assert np.abs(frame.stress - stress).max() < 1e-12


def test_only_what_is_periodic_in_three_directions_has_a_stress(tmp_path):
    slab = make_frame(0)
    slab.pbc = [True, True, False]
    store = labelled(tmp_path, [*STRUCTURES, slab])
    stresses = [store.frame(place).stress is None for place in range(4)]
    assert stresses == [False, True, False, True]


def test_labels_of_the_user_do_not_reach_the_file(tmp_path):
    named = make_frame(0, config_type="bulk", group="mp-1")
    named.info["energy"] = 77.0
    store = labelled(tmp_path, [named])
    assert store.frame(0).energy != 77.0
    assert store.frame(0).config_type is None


def test_batches_do_not_change_what_is_predicted(monkeypatch):
    structures = [make_frame(seed) for seed in range(5)]
    together = list(predict_structures(structures, small_model()))
    monkeypatch.setattr("mace_train.finetuning.parent_labels._MAX_EDGES", 1)
    alone = list(predict_structures(structures, small_model()))
    assert len(together) == len(alone) == 5
    for first, second in zip(together, alone):
        assert first.energy == pytest.approx(second.energy, abs=1e-10)
        assert np.abs(first.forces - second.forces).max() < 1e-10


def test_the_mode_of_the_model_is_left_alone(tmp_path):
    model = small_model().train()
    write_parent_labels(tmp_path / "a.extxyz", STRUCTURES, model)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_head_is_chosen_by_name():
    model = small_model(heads=("pbe", "scan"))
    pbe, scan = (
        next(predict_structures(STRUCTURES[:1], model, head=head)).energy
        for head in ("pbe", "scan")
    )
    assert abs(pbe - scan) > 1e-3
    with pytest.raises(ValueError, match="several heads: choose one of pbe, scan"):
        place_of_head(model, None)
    with pytest.raises(ValueError, match="no head 'hse': it has pbe, scan"):
        place_of_head(model, "hse")
    assert place_of_head(model, "scan") == 1


def test_unknown_elements_are_refused_by_name_and_nothing_is_written(tmp_path):
    structures = [STRUCTURES[0], bulk("Au"), molecule("H2O")]
    path = tmp_path / "labels.extxyz"
    with pytest.raises(ValueError, match="does not know H, Au") as error:
        write_parent_labels(path, structures, small_model())
    assert "2 of 3 structures (first: number 1, Au)" in str(error.value)
    assert "It knows Li, O" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_prediction_that_is_not_finite_is_no_label(tmp_path):
    model = small_model()
    with torch.no_grad():
        next(model.readouts.parameters()).fill_(torch.nan)
    path = tmp_path / "labels.extxyz"
    path.write_text("older\n")
    with pytest.raises(ValueError, match=r"structure 0 .* is not finite"):
        write_parent_labels(path, STRUCTURES, model)
    assert path.read_text() == "older\n"
    assert [one.name for one in tmp_path.iterdir()] == ["labels.extxyz"]


def test_no_structures_and_progress(tmp_path):
    with pytest.raises(ValueError, match="no structure to label"):
        write_parent_labels(tmp_path / "a.extxyz", [], small_model())
    told = []
    labelled(tmp_path, progress=lambda *counts: told.append(counts))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("with_labels", [True, False])
def test_structures_are_read_whatever_labels_they_have(tmp_path, with_labels):
    frames = [make_frame(seed, molecule=seed == 1) for seed in range(3)]
    frames[0].info["REF_energy"] = -3.0  # labels that fit no single key
    if not with_labels:
        frames = [without(atoms, "energy", "forces") for atoms in frames]
    path = write_frames(tmp_path / "frames.xyz", frames)
    read = read_structures(path, r_max=R_MAX, cache_dir=tmp_path / "cache")
    assert [atoms.get_chemical_formula() for atoms in read] == ["Li2O2"] * 3
    assert [bool(atoms.pbc.all()) for atoms in read] == [True, False, True]
    assert np.abs(read[2].positions - frames[2].positions).max() < 1e-7
    assert np.abs(read[2].cell.array - frames[2].cell.array).max() < 1e-7
    assert all(not atoms.info and atoms.calc is None for atoms in read)


def test_structures_are_read_from_shards_too(tmp_path):
    store = store_of(tmp_path, [make_frame(seed) for seed in range(3)])
    shards = [str(shard.path) for shard in store.shards]
    read = read_structures(shards, r_max=R_MAX, cache_dir=tmp_path / "cache")
    assert len(read) == 3


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"found no data at .*nowhere.xyz"):
        read_structures(str(tmp_path / "nowhere.xyz"), r_max=R_MAX)
