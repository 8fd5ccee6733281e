import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_crystals import R_MAX, make_frame, small_model, store_of

from mace_train.data.dataset import GraphDataset
from mace_train.finetuning.before_after import compare_models
from mace_train.finetuning.compared import ComparedSet
from mace_train.training.evaluation import evaluate_model
from mace_train.training.frame_set import FrameSet

sys.path.insert(0, str(Path(__file__).parent))
from compared_models import labelled_set, user_set, with_e0s

PARENT_E0S = [-1.3, -1.8]
NEW_E0S = [-3.0, -10.0]


def evaluated(model, frames, head=0):
    dataset = GraphDataset(
        frames.store,
        frames.indices,
        elements=model.elements,
        r_max=R_MAX,
        dtype=torch.float64,
    )
    return evaluate_model(model, dataset, head=head).results


def test_errors_are_those_of_each_model_on_the_same_frames(tmp_path):
    parent, tuned = small_model(), small_model(seed=1)
    valid = user_set(tmp_path)
    (row,) = compare_models(parent, tuned, [valid]).rows
    assert row.before == pytest.approx(evaluated(parent, valid.frames))
    assert row.after == pytest.approx(evaluated(tuned, valid.frames))
    assert row.before["forces_mae"] != row.after["forces_mae"]
    assert row.as_it_came is None  # the E0s are the same
    forces = np.concatenate([valid.frames.store.frame(i).forces for i in range(4)])
    assert row.mean_force == pytest.approx(np.abs(forces).mean())


def test_the_parent_is_shown_with_the_new_e0s_and_as_it_came(tmp_path):
    parent, tuned = small_model(), with_e0s(small_model(seed=1), NEW_E0S)
    valid = user_set(tmp_path)
    compared = compare_models(parent, tuned, [valid])
    (row,) = compared.rows
    assert row.as_it_came == pytest.approx(evaluated(parent, valid.frames))
    assert row.after == pytest.approx(evaluated(tuned, valid.frames))
    moved = with_e0s(copy.deepcopy(parent), NEW_E0S)
    assert row.before == pytest.approx(evaluated(moved, valid.frames))
    assert row.before["energy_per_atom_mae"] != row.as_it_came["energy_per_atom_mae"]
    assert any("its own E0s" in note for note in compared.notes)


def test_a_model_that_only_has_other_e0s_has_forgotten_nothing(tmp_path):
    parent, tuned = small_model(), with_e0s(small_model(), NEW_E0S)
    guard = labelled_set(tmp_path, parent)
    compared = compare_models(parent, tuned, [guard])
    (row,) = compared.rows
    for errors in (row.before, row.after):
        for name in ("energy_per_atom_rmse", "forces_rmse", "stress_rmse"):
            assert errors[name] < 1e-7, name
    assert row.as_it_came is None
    assert any("without the difference of E0s" in note for note in compared.notes)


def test_a_model_with_another_energy_an_atom_has_that_error_on_the_guard(tmp_path):
    parent, tuned = small_model(), with_e0s(small_model(), NEW_E0S)
    tuned.scale_shift.shift.add_(0.25)
    (row,) = compare_models(parent, tuned, [labelled_set(tmp_path, parent)]).rows
    assert row.after["energy_per_atom_mae"] == pytest.approx(0.25, abs=1e-7)
    assert row.after["forces_mae"] < 1e-7


@pytest.mark.parametrize("labels_of", ["parent", "tuned"])
def test_the_reference_of_a_users_guard_is_that_which_fits(tmp_path, labels_of):
    parent, tuned = small_model(), with_e0s(small_model(), NEW_E0S)
    labeller = parent if labels_of == "parent" else tuned
    guard = labelled_set(tmp_path, labeller, reference="unknown")
    compared = compare_models(parent, tuned, [guard])
    (row,) = compared.rows
    assert row.before["energy_per_atom_mae"] < 1e-7
    assert row.after["energy_per_atom_mae"] < 1e-7
    who = "the parent" if labels_of == "parent" else "the fine-tuned model"
    assert any(f"the reference of {who}" in note for note in compared.notes)


def test_each_head_of_the_fine_tuned_model_has_a_row_of_its_own(tmp_path):
    parent = small_model()
    tuned = with_e0s(small_model(heads=("mine", "old"), seed=1), NEW_E0S, PARENT_E0S)
    guard = labelled_set(tmp_path, parent, heads=("mine", "old"))
    rows = compare_models(parent, tuned, [guard]).rows
    assert [row.head for row in rows] == ["mine", "old"]
    assert rows[0].before == rows[1].before
    assert rows[1].after == pytest.approx(evaluated(tuned, guard.frames, head=1))
    assert rows[0].after["forces_mae"] != rows[1].after["forces_mae"]


def test_a_head_of_a_parent_with_several_is_chosen(tmp_path):
    parent, tuned = small_model(heads=("a", "b")), small_model()
    valid = user_set(tmp_path)
    (row,) = compare_models(parent, tuned, [valid], parent_head="b").rows
    assert row.before == pytest.approx(evaluated(parent, valid.frames, head=1))
    with pytest.raises(ValueError, match="several heads: choose one of a, b"):
        compare_models(parent, tuned, [valid])


def test_a_model_with_fewer_elements_is_compared_on_those(tmp_path):
    parent, tuned = small_model((3, 8, 14)), small_model((3, 8), seed=1)
    valid = user_set(tmp_path)
    (row,) = compare_models(parent, tuned, [valid]).rows
    assert row.after == pytest.approx(evaluated(tuned, valid.frames))
    with pytest.raises(ValueError, match="the fine-tuned model does not know O"):
        compare_models(parent, small_model((3,)), [valid])


def test_a_diverged_model_is_told_and_ends_nothing(tmp_path):
    parent, tuned = small_model(), small_model()
    with torch.no_grad():
        next(tuned.readouts.parameters()).fill_(torch.nan)
    compared = compare_models(parent, tuned, [user_set(tmp_path)])
    assert compared.rows[0].after is None
    assert compared.rows[0].before["forces_mae"] > 0
    assert any("not finite" in note for note in compared.notes)


def test_float32_gives_the_same_errors_to_rounding(tmp_path):
    valid = user_set(tmp_path)
    exact, rounded = (
        compare_models(small_model().to(dtype), small_model(seed=1).to(dtype), [valid])
        for dtype in (torch.float64, torch.float32)
    )
    for name in ("before", "after"):
        first, second = getattr(exact.rows[0], name), getattr(rounded.rows[0], name)
        assert first == pytest.approx(second, rel=1e-4, abs=1e-5)


def test_an_untrained_float32_model_with_far_e0s_is_as_good_as_its_parent(tmp_path):
    """All-electron energies in float32 would be rounded to 0.5 meV a frame."""
    far = [-190.1, -2010.7]
    tuned = with_e0s(small_model(), far).float()
    frames = [make_frame(seed) for seed in range(4)]
    for atoms in frames:
        atoms.info["energy"] += 2 * (far[0] + far[1])
    frames = FrameSet.of_all(store_of(tmp_path, frames, name="far.xyz"))
    valid = ComparedSet("valid", frames, ("Default",))
    (row,) = compare_models(small_model().float(), tuned, [valid]).rows
    (exact,) = compare_models(small_model(), tuned.double(), [valid]).rows
    for name in ("energy_per_atom_mae", "energy_per_atom_rmse"):
        assert row.after[name] == pytest.approx(row.before[name], abs=1e-9)
        assert row.after[name] == pytest.approx(exact.after[name], abs=1e-5)


def test_a_set_without_frames_is_passed_over(tmp_path):
    store = store_of(tmp_path, [make_frame(0)])
    empty = ComparedSet("guard", FrameSet(store, np.zeros(0, np.int64)), ("Default",))
    models = small_model(), small_model(seed=1)
    told = []
    compared = compare_models(
        *models,
        [empty, user_set(tmp_path)],
        progress=lambda done, total: told.append((done, total)),
    )
    assert [row.set_name for row in compared.rows] == ["valid"]
    assert told == [(4, 4), (4, 4)]
    with pytest.raises(ValueError, match="no frames on which to compare"):
        compare_models(*models, [empty])
