import numpy as np
import pytest
import torch
from small_crystals import datamodule_of, make_frame, small_model, store_of, write_frames

from mace_train.calculator import MACECalculator
from mace_train.cli.parent import parent_statistics
from mace_train.finetuning.settings import FineTuning
from mace_train.finetuning.start import make_start, user_frames
from mace_train.training.datamodule import MACEDataModule
from mace_train.training.frame_set import FrameSet
from mace_train.training.parent_model import Parent


@pytest.fixture
def parent():
    return small_model((1, 3, 8, 9))


def begun(tmp_path, parent, *, keeps_all=True, sets=None, **settings):
    frames = [make_frame(i) for i in range(8)]
    module = datamodule_of(
        tmp_path, frames if sets is None else sets, valid_fraction=0.25, r_max=parent.r_max
    )
    statistics = parent_statistics(parent, "parent.safetensors")
    heads = module.sources.heads
    module.use_parent(
        Parent(parent.elements, dict.fromkeys(heads, statistics), keeps_all=keeps_all),
        r_max=parent.r_max,
    )
    module.setup()
    start = make_start(
        parent,
        module,
        FineTuning(recipes={}, **settings),
        has_replay=len(heads) > 1,
        seed=0,
    )
    return start, module


def forces(model, head=None):
    atoms = make_frame(3)
    atoms.calc = MACECalculator(model, head=head)
    return atoms.get_forces()


@pytest.mark.parametrize("method", ["full", "freeze", "lora"])
def test_the_start_predicts_the_parents_forces(tmp_path, parent, method):
    start, _ = begun(tmp_path, parent, method=method)
    np.testing.assert_allclose(forces(start.model), forces(parent), atol=1e-10)
    np.testing.assert_allclose(forces(start.untrained()), forces(parent), atol=1e-10)
    assert start.method == method


def test_energies_differ_by_the_new_e0s(tmp_path, parent):
    start, module = begun(tmp_path, parent, method="full")
    atoms = make_frame(3)
    atoms.calc = MACECalculator(parent)
    old = atoms.get_potential_energy()
    atoms.calc = MACECalculator(start.model)
    change = start.energies.new - start.energies.parent
    expected = old + change[1] * 2 + change[2] * 2  # Li2O2
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-9)
    told = module.data.statistics
    np.testing.assert_allclose(told.atomic_energies, start.energies.new)
    assert told.e0_source == "estimated"


def test_all_weights_move_but_for_those_that_are_frozen(tmp_path, parent):
    full, _ = begun(tmp_path, parent, method="full")
    assert all(p.requires_grad for p in full.model.parameters())
    frozen, _ = begun(tmp_path, parent, method="freeze", trainable=("readouts",))
    moving = {n for n, p in frozen.model.named_parameters() if p.requires_grad}
    assert moving == {n for n, _ in frozen.model.named_parameters() if "readouts" in n}


def test_the_parent_is_left_as_it_came(tmp_path, parent):
    before = {name: value.clone() for name, value in parent.state_dict().items()}
    start, _ = begun(tmp_path, parent, method="full")
    with torch.no_grad():
        for weight in start.model.parameters():
            weight.add_(1.0)
    for name, value in parent.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_elements_of_the_data_are_what_is_left(tmp_path, parent):
    start, module = begun(tmp_path, parent, keeps_all=False, method="full")
    assert start.model.elements.symbols == ("Li", "O")
    assert module.data.elements == start.model.elements
    np.testing.assert_allclose(forces(start.model), forces(parent), atol=1e-10)


def begun_with_replay(tmp_path, parent, old_frames):
    mine = write_frames(tmp_path / "mine.xyz", [make_frame(i) for i in range(8)])
    old = write_frames(tmp_path / "old.xyz", old_frames)
    sets = [
        {"path": mine, "head": "finetuned"},
        {"path": old, "name": "replay old", "head": "Default", "hold_out": False},
    ]
    module = MACEDataModule(
        train=sets, r_max=parent.r_max, dtype="float64", cache_dir=str(tmp_path / "c")
    )
    statistics = parent_statistics(parent, "parent")
    by_head = {"finetuned": statistics, "Default": statistics}
    module.use_parent(Parent(parent.elements, by_head), r_max=parent.r_max)
    module.setup()
    settings = FineTuning(recipes={})
    return make_start(parent, module, settings, has_replay=True, seed=0), module


def labelled_by(parent, frames, *, shift=0.0):
    """Frames with the parent's energies, and more for each atom of Li, eV."""
    for atoms in frames:
        copied = atoms.copy()
        copied.calc = MACECalculator(parent)
        more = shift * atoms.get_chemical_symbols().count("Li")
        atoms.info["energy"] = float(copied.get_potential_energy() + more)
    return frames


def test_replay_begins_with_two_heads_that_predict_the_same(tmp_path, parent):
    old = labelled_by(parent, [make_frame(20 + i) for i in range(4)])
    start, module = begun_with_replay(tmp_path, parent, old)
    assert start.model.heads == ("finetuned", "Default")
    for head in start.model.heads:
        np.testing.assert_allclose(forces(start.model, head), forces(parent), atol=1e-10)
    train = module.data.sets["train"]
    assert len(user_frames(train)) == len(train) - 4
    by_head = module.data.statistics_by_head
    np.testing.assert_allclose(by_head["Default"].atomic_energies, start.energies.parent)
    np.testing.assert_allclose(by_head["finetuned"].atomic_energies, start.energies.new)


def test_replayed_energies_of_another_level_of_theory_are_refused(tmp_path, parent):
    old = labelled_by(parent, [make_frame(20 + i) for i in range(4)], shift=-40.0)
    with pytest.raises(ValueError, match=r"replay old differ .* by 20 eV/atom") as error:
        begun_with_replay(tmp_path, parent, old)
    assert "finetune.replay_labels=parent" in str(error.value)


def test_replayed_energies_that_scatter_are_warned_of(tmp_path, parent, caplog):
    old = labelled_by(parent, [make_frame(20 + i) for i in range(4)])
    for number, atoms in enumerate(old):
        atoms.info["energy"] += 4.0 * (-1) ** number
    begun_with_replay(tmp_path, parent, old)
    assert "the energies of replay old differ from the parent's by 1 eV/atom" in caplog.text


def test_an_element_of_few_frames_is_found_outside_of_the_sample(
    tmp_path, parent, monkeypatch
):
    """F in 2 of 40 frames, with E0s that differ by 1000 eV; the sample has 6 frames."""
    monkeypatch.setattr("mace_train.finetuning.start._E0_FRAMES", 6)
    kinds = [("Li", "O"), ("Li", "Li", "O"), ("Li",)]
    frames = [make_frame(i, symbols=kinds[i % 3]) for i in range(40)]
    for place in (17, 8):
        frames[place] = make_frame(place, symbols=("Li", "O", "F"))
    labelled_by(parent, frames)
    for atoms in frames:
        atoms.info["energy"] -= 1000.0 * atoms.get_chemical_symbols().count("F")
    start, module = begun(tmp_path, parent, sets=frames, method="full")
    mine = module.data.sets["train"]
    change = start.energies.new - start.energies.parent
    np.testing.assert_allclose(change, [0.0, 0.0, 0.0, -1000.0], atol=1e-3)
    assert 9 not in mine.random_sample(6, seed=0).atomic_numbers
    held = [len(mine.with_elements([z])) for z in parent.elements.atomic_numbers]
    assert held[3] > 0
    assert start.energies.num_frames.tolist() == held


def test_one_set_is_the_users_own(tmp_path):
    frames = FrameSet.of_all(store_of(tmp_path, [make_frame(0), make_frame(1)]))
    assert user_frames(frames) is frames
