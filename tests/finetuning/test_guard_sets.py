import numpy as np
import pytest
from small_crystals import (
    R_MAX,
    isolated_atom,
    make_frame,
    small_model,
    store_of,
    without,
    write_frames,
)

from mace_train.checkpoints.model_file import save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.data.labels import LabelKeys
from mace_train.elements import ElementTable
from mace_train.finetuning.before_after import compare_models
from mace_train.finetuning.guard_sets import given_guard, made_guard
from mace_train.graph import AtomicGraph

BOTH = ElementTable((3, 8))


def given(tmp_path, frames, *, elements=BOTH, parent=None, keys=None, **options):
    spec = frames if isinstance(frames, list) and isinstance(frames[0], dict) else None
    return given_guard(
        spec or write_frames(tmp_path / "guard.xyz", frames),
        tmp_path / "labelled.extxyz",
        parent or small_model(),
        elements=elements,
        heads=["Default"],
        keys=keys or LabelKeys(),
        cache_dir=tmp_path / "cache",
        **options,
    )


def made(tmp_path, path=None, **options):
    options = {"elements": BOTH, "heads": ["Default"], **options}
    return made_guard(
        tmp_path / "run" / "guard.extxyz",
        path,
        small_model(),
        cache_dir=tmp_path / "cache",
        **options,
    )


def test_probe_frames_are_labelled_by_the_parent(tmp_path):
    model = small_model()
    frames = [make_frame(0), make_frame(1, molecule=True)]
    graphs = [
        AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=R_MAX)
        for atoms in frames
    ]
    path = tmp_path / "model.safetensors"
    save_model(path, model, metadata={}, probes=make_probes(model, graphs))
    guard = made(tmp_path, path)
    assert guard.origin == "2 probe frames of the parent, its own labels"
    assert (guard.name, guard.reference) == ("guard", "parent")
    assert guard.frames.label_counts == {"energy": 2, "forces": 2, "stress": 1}
    assert (tmp_path / "run" / "guard.extxyz").is_file()
    (row,) = compare_models(model, small_model(seed=1), [guard]).rows
    assert row.before["energy_per_atom_mae"] < 1e-7
    assert row.before["forces_mae"] < 1e-7
    assert row.after["forces_mae"] > 1e-3


def test_built_frames_have_only_elements_that_both_models_know(tmp_path):
    guard = made(tmp_path, elements=ElementTable((3,)), max_frames=4)
    assert guard.frames.atomic_numbers == {3}
    assert len(guard.frames) == 4


def test_a_users_labels_are_taken(tmp_path):
    guard = given(tmp_path, [make_frame(seed) for seed in range(3)])
    assert guard.origin == "data.guard, 3 frames"
    assert guard.reference == "unknown"
    assert guard.frames.store.frame(1).energy == pytest.approx(make_frame(1).info["energy"])
    assert not (tmp_path / "labelled.extxyz").exists()


def test_structures_without_labels_get_those_of_the_parent(tmp_path):
    frames = [without(make_frame(seed), "energy", "forces", "stress") for seed in range(3)]
    told = []
    guard = given(tmp_path, frames, progress=lambda *counts: told.append(counts))
    assert guard.origin == "data.guard, 3 frames, the parent's labels"
    assert guard.reference == "parent"
    assert told[-1] == (3, 3)
    (row,) = compare_models(small_model(), small_model(), [guard]).rows
    assert row.after["energy_per_atom_mae"] < 1e-7


def test_sets_and_label_keys_of_the_user_are_followed(tmp_path):
    paths = [
        write_frames(tmp_path / "a.xyz", [_with_mine(seed) for seed in range(3)]),
        write_frames(tmp_path / "b.xyz", [_with_mine(seed) for seed in range(3, 5)]),
    ]
    spec = [{"path": paths[0]}, {"path": [paths[1]], "name": "other"}]
    guard = given(tmp_path, spec, keys=LabelKeys(energy="mine"))
    assert guard.frames.label_counts["energy"] == 5


def _with_mine(seed):
    atoms = make_frame(seed)
    atoms.info["mine"] = atoms.info.pop("energy")
    return atoms


def test_isolated_atoms_are_left_out(tmp_path):
    guard = given(tmp_path, [make_frame(0), isolated_atom("Li", -1.0), make_frame(1)])
    assert len(guard.frames) == 2
    compare_models(small_model(), small_model(), [guard])


def test_elements_that_fine_tuning_dropped_are_left_out_and_counted(tmp_path):
    frames = [make_frame(0), make_frame(1, symbols=("Li",)), make_frame(2)]
    guard = given(tmp_path, frames, elements=ElementTable((3,)))
    assert len(guard.frames) == 1
    assert guard.origin == "data.guard, 3 frames (2 with other elements left out)"
    with pytest.raises(ValueError, match=r"holds O, which .* finetune.elements=all"):
        given(tmp_path, frames[:1], elements=ElementTable((3,)))


def test_elements_that_the_parent_never_knew_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the parent does not know O, which 1 of 1"):
        given(tmp_path, [make_frame(0)], parent=small_model((3,)))


def test_shards_are_a_guard_too(tmp_path):
    store = store_of(tmp_path, [make_frame(seed) for seed in range(3)])
    spec = [{"path": [str(shard.path) for shard in store.shards]}]
    assert len(given(tmp_path, spec).frames) == 3


def test_each_set_has_names_of_labels_of_its_own(tmp_path):
    plain = write_frames(tmp_path / "a.xyz", [make_frame(seed) for seed in range(3)])
    mine = write_frames(tmp_path / "b.xyz", [_with_mine(seed) for seed in range(3, 5)])
    spec = [
        {"path": plain, "weight": 2.0, "stress_weight": 0.0},
        {"path": mine, "energy_key": "mine", "head": "any", "forces_weight": 0.0},
    ]
    guard = given(tmp_path, spec)
    assert guard.frames.label_counts == {"energy": 5, "forces": 5, "stress": 5}
    energies = [guard.frames.store.frame(place).energy for place in range(5)]
    expected = [make_frame(seed).info["energy"] for seed in range(5)]
    assert energies == pytest.approx(expected, abs=1e-6)
    rows = compare_models(small_model(), small_model(seed=1), [guard]).rows
    assert rows[0].before["stress_mae"] > 1e-6
    alone = given(tmp_path, spec[1:])  # one set is no mixture
    assert alone.frames.label_counts["energy"] == 2


def test_units_of_a_set_are_followed(tmp_path):
    frames = [make_frame(seed) for seed in range(4)]
    for atoms in frames:
        atoms.info["energy"] /= 27.211386
        atoms.arrays["forces"] /= 27.211386
        del atoms.info["stress"]
    path = write_frames(tmp_path / "hartree.xyz", frames)
    units = {"energy": "hartree", "length": "angstrom"}
    guard = given(tmp_path, [{"path": path, "units": units}])
    expected = make_frame(2).arrays["forces"]
    np.testing.assert_allclose(guard.frames.store.frame(2).forces, expected, atol=1e-5)


def test_elements_that_the_parent_has_dropped_are_left_out_not_refused(tmp_path):
    frames = [make_frame(0), make_frame(1, symbols=("Li",)), make_frame(2)]
    lithium = ElementTable((3,))
    narrowed = {"elements": lithium, "parent": small_model((3,)), "known": BOTH}
    guard = given(tmp_path, frames, **narrowed)
    assert guard.origin == "data.guard, 3 frames (2 with other elements left out)"
    bare = [without(atoms, "energy", "forces", "stress") for atoms in frames]
    guard = given(tmp_path, bare, **narrowed)
    assert len(guard.frames) == 1
    assert guard.reference == "parent"
    assert guard.frames.atomic_numbers == {3}
    with pytest.raises(ValueError, match="which the fine-tuned model no longer knows"):
        given(tmp_path, frames[:1], **narrowed)
    with pytest.raises(ValueError, match=r"the parent does not know F, .* It knows Li O"):
        given(tmp_path, [make_frame(0, symbols=("Li", "F"))], **narrowed)


def test_bare_structures_of_several_sets_are_labelled(tmp_path):
    frames = [without(make_frame(seed), "energy", "forces", "stress") for seed in range(4)]
    paths = [
        write_frames(tmp_path / "z.xyz", frames[:2]),
        write_frames(tmp_path / "a.xyz", frames[2:]),
    ]
    guard = given(tmp_path, [{"path": path} for path in paths])
    assert guard.frames.label_counts["forces"] == 4
    for place, atoms in enumerate(frames):
        found = guard.frames.store.frame(place).positions
        np.testing.assert_allclose(found, atoms.positions, atol=1e-7)
