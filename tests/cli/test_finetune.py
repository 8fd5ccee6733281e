"""Whole fine-tunings, from the command's config to its files."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read
from small_crystals import isolated_atom, make_frame, small_model, without, write_frames

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.model_file import load_model, read_metadata, save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_train import run
from mace_train.graph import AtomicGraph

SHIFT = {"Li": 30.0, "O": -700.0}


def shifted(atoms):
    """Labels of another level of theory: another energy of each element."""
    atoms.info["energy"] += sum(SHIFT[s] for s in atoms.get_chemical_symbols())
    return atoms


@pytest.fixture
def parent(tmp_path):
    """A model file of H, Li, O and F, with probe frames of Li and F."""
    model = small_model((1, 3, 8, 9))
    graphs = [
        AtomicGraph.from_atoms(
            make_frame(i, symbols=("Li", "F")),
            elements=model.elements,
            r_max=model.r_max,
            dtype=torch.float64,
        )
        for i in range(70, 73)
    ]
    path = tmp_path / "parent.safetensors"
    save_model(path, model, metadata={}, probes=make_probes(model, graphs))
    return path


@pytest.fixture
def mine(tmp_path):
    kinds = [("Li", "O"), ("Li", "O", "O"), ("Li", "Li", "O")]
    frames = [shifted(make_frame(i, symbols=kinds[i % 3])) for i in range(12)]
    return write_frames(tmp_path / "mine.xyz", frames)


@pytest.fixture
def words(parent, mine, tmp_path):
    return [
        "experiment=finetune",
        f"init_from={parent}",
        f"data.train={mine}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"run_dir={tmp_path / 'run'}",
        "data.valid_fraction=0.25",
        "data.split=random",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "report.figures=false",
        "checkpoint.probe_frames=3",
        "finetune.checks=false",
        "dtype=float64",
    ]


def tune(words, *more):
    return run(compose("train", [*words, *more]))


def energy(model, atoms):
    copied = atoms.copy()
    copied.calc = MACECalculator(model)
    return copied.get_potential_energy()


def test_a_run_learns_and_tells_what_became_of_the_parent(words, parent, tmp_path, caplog):
    results = tune(words, "finetune.method=full")
    told = results["fine_tuning"]
    assert told["method"] == "full"
    assert told["reference_energies"]["elements"]["O"]["new"] == pytest.approx(
        told["reference_energies"]["elements"]["O"]["parent"] - 700, abs=30
    )
    rows = {row["set"]: row for row in told["before_after"]["sets"]}
    assert set(rows) == {"valid", "guard"}
    assert rows["valid"]["after"]["forces_rmse"] < rows["valid"]["before"]["forces_rmse"]
    assert (
        rows["guard"]["before"]["forces_rmse"]
        < 1e-8
        < (rows["guard"]["after"]["forces_rmse"])
    )
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written == json.loads(json.dumps(results))
    record = read_metadata(tmp_path / "run" / "model.safetensors")
    assert record["fine_tuning"]["method"] == "full"
    assert record["fine_tuning"]["parent"] == str(parent)
    assert record["statistics"]["e0_source"] == "estimated"
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.elements.symbols == ("H", "Li", "O", "F")
    assert "before and after fine-tuning" in caplog.text
    assert "validation loss before the first step" in caplog.text


def test_elements_of_the_data_alone_are_kept_if_asked_for(words, tmp_path):
    tune(words, "finetune.elements=data", "trainer.max_epochs=1")
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.elements.symbols == ("Li", "O")


def test_only_the_blocks_that_were_named_move(words, parent, tmp_path):
    tune(words, "finetune.method=freeze", "finetune.trainable=[readouts]")
    before = load_model(parent).state_dict()
    after = load_model(tmp_path / "run" / "model.safetensors").state_dict()
    moved = {
        name
        for name, value in after.items()
        if not torch.equal(value, before[name]) and "atomic_energies" not in name
    }
    assert moved
    assert all(name.startswith("readouts.") for name in moved)


def test_low_rank_updates_end_in_a_plain_file(words, parent, tmp_path):
    tune(words, "finetune.method=lora", "finetune.lora_rank=2")
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.state_dict().keys() == load_model(parent).state_dict().keys()
    best = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    atoms = make_frame(5)
    assert energy(model, atoms) == pytest.approx(energy(best, atoms), abs=1e-10)


def test_a_block_that_does_not_exist_is_refused_with_those_that_do(words):
    with pytest.raises(ValueError, match=r"no block 'radial'.*node_embedding"):
        tune(words, "finetune.method=freeze", "finetune.trainable=[radial]")


def test_replay_trains_a_head_beside_that_of_the_parent(words, parent, tmp_path):
    frames = [make_frame(30 + i, symbols=("Li", "F")) for i in range(6)]
    for atoms in frames:  # no labels at all: the parent gives them
        without(atoms, "energy", "forces", "stress")
    path = write_frames(tmp_path / "replay.xyz", frames)
    results = tune(words, f"data.replay=[{{path: {path}, weight: 0.5}}]")
    assert results["fine_tuning"]["method"] == "replay"
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert model.heads == ("finetuned", "Default")
    e0s = model.atomic_energies_fn.atomic_energies
    old = load_model(parent).atomic_energies_fn.atomic_energies[0]
    torch.testing.assert_close(e0s[1], old, rtol=0, atol=0)
    assert abs(float(e0s[0, 2] - old[2]) + 700) < 30
    labelled = read(tmp_path / "run" / "replay" / "0.extxyz", ":")
    assert len(labelled) == 6
    assert labelled[0].get_potential_energy() == pytest.approx(
        energy(load_model(parent), frames[0]), abs=1e-6
    )
    heads = [row["head"] for row in results["fine_tuning"]["before_after"]["sets"]]
    assert heads == ["finetuned", "finetuned", "Default"]
    assert results["valid"]["num_frames"] == 3  # none of the frames that are replayed
    sets = read_metadata(tmp_path / "run" / "model.safetensors")["data_sets"]
    assert [one["forces_weight"] for one in sets] == [1.0, 0.5]


def test_the_parents_head_can_be_left_out_of_the_file(words, tmp_path, mine):
    path = write_frames(tmp_path / "replay.xyz", [make_frame(40 + i) for i in range(5)])
    more = [f"data.replay={path}", "finetune.head=mine"]
    tune(words, *more, "finetune.keep_parent_head=false")
    model = load_model(tmp_path / "run" / "model.safetensors")
    both = load_model(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert model.heads == ("mine",)
    atoms = read(mine, "0")
    both_calc = MACECalculator(both, head="mine")
    copied = atoms.copy()
    copied.calc = both_calc
    assert energy(model, atoms) == pytest.approx(copied.get_potential_energy(), abs=1e-9)


def test_a_model_that_got_worse_is_not_saved_as_best(words, parent, tmp_path, caplog):
    results = tune(words, "optim.lr=3.0", "optim.clip_norm=null", "ema.decay=null")
    folder = tmp_path / "run"
    assert not (folder / "checkpoints" / "best.ckpt").exists()
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert "no epoch was better" in caplog.text
    model, before = load_model(folder / "model.safetensors"), load_model(parent)
    for name, value in model.state_dict().items():
        if "atomic_energies" not in name:
            torch.testing.assert_close(value, before.state_dict()[name], rtol=0, atol=0)
    rows = {row["set"]: row for row in results["fine_tuning"]["before_after"]["sets"]}
    assert rows["guard"]["after"]["forces_rmse"] < 1e-8
    assert read_metadata(folder / "model.safetensors")["num_epochs"] == 0
    again = tune(words, "optim.lr=3.0", "optim.clip_norm=null", "ema.decay=null")
    assert again["valid"] == results["valid"]


def test_terms_without_labels_are_left_out(words, tmp_path, caplog):
    frames = [shifted(make_frame(i, molecule=True)) for i in range(10)]
    path = write_frames(tmp_path / "molecules.xyz", frames)
    tune(words, f"data.train={path}", "finetune.method=full", "trainer.max_epochs=1")
    assert "no frame has a label for stress: loss.stress_weight=0" in caplog.text
    written = (tmp_path / "run" / "config.yaml").read_text()
    assert "stress_weight: 0.0" in written


def test_auto_sets_what_belongs_to_the_method_it_chooses(words, tmp_path, caplog):
    tune(words, "trainer.max_epochs=1", "optim.clip_norm=4.0")
    assert (
        "method of fine-tuning: lora (9 training frames are fewer than 1000" in caplog.text
    )
    assert "optim.lr=0.01, ema.decay=0.99" in caplog.text
    checkpoint = torch.load(
        tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True
    )
    (group, *_) = checkpoint["optimizer_states"][0]["param_groups"]
    assert group["lr"] == 0.01
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "clip_norm: 4.0" in config


def test_a_guard_of_ones_own_is_used(words, tmp_path):
    path = write_frames(
        tmp_path / "guard.xyz", [make_frame(60 + i, symbols=("Li", "F")) for i in range(4)]
    )
    results = tune(words, f"data.guard={path}", "trainer.max_epochs=1")
    rows = {row["set"]: row for row in results["fine_tuning"]["before_after"]["sets"]}
    assert rows["guard"]["before"]["num_frames"] == 4
    assert rows["guard"]["before"]["forces_rmse"] > 1e-3  # labels of its own


def test_heads_of_the_parent_are_listed_where_one_must_be_chosen(words, tmp_path):
    path = tmp_path / "two.safetensors"
    save_model(path, small_model((3, 8), heads=("pbe", "scan"), seed=3), metadata={})
    with pytest.raises(ValueError, match=r"heads pbe, scan.*finetune\.parent_head=pbe"):
        tune(words, f"init_from={path}")
    with pytest.raises(ValueError, match=r"parent_head=r2scan: .* no such head, but pbe"):
        tune(words, f"init_from={path}", "finetune.parent_head=r2scan")
    results = tune(words, f"init_from={path}", "finetune.parent_head=scan")
    assert results["fine_tuning"]["parent_head"] == "scan"


def test_the_new_head_needs_a_name_of_its_own(words, mine):
    with pytest.raises(ValueError, match="the name of the parent's head"):
        tune(words, f"data.replay={mine}", "finetune.head=Default")


def test_an_element_that_the_parent_does_not_know_is_refused(words, tmp_path):
    frames = [make_frame(i, symbols=("Li", "S")) for i in range(8)]
    path = write_frames(tmp_path / "sulfides.xyz", frames)
    with pytest.raises(ValueError, match=r"does not know S\b"):
        tune(words, f"data.train={path}")


def test_the_architecture_may_not_be_contradicted(words):
    with pytest.raises(ConfigError, match=r"model\.max_ell"):
        tune(words, "model.max_ell=3", "model.hidden_irreps=4x0e + 4x1o")


def test_a_run_that_was_stopped_goes_on_from_the_same_baseline(words, tmp_path, caplog):
    whole = tune(words, "finetune.method=lora", f"run_dir={tmp_path / 'whole'}")
    tune(words, "finetune.method=lora", "trainer.max_epochs=1")
    caplog.clear()
    results = tune(words, "finetune.method=lora")
    assert "before the first step" not in caplog.text
    assert results["valid"] == whole["valid"]


def test_isolated_atoms_give_the_energies_of_the_elements(words, tmp_path):
    frames = [shifted(make_frame(i)) for i in range(8)]
    frames += [isolated_atom("Li", -2.0), isolated_atom("O", -3.0)]
    path = write_frames(tmp_path / "with_atoms.xyz", frames)
    tune(words, f"data.train={path}", "finetune.e0s=isolated_atoms", "trainer.max_epochs=1")
    model = load_model(tmp_path / "run" / "model.safetensors")
    e0s = model.atomic_energies_fn.atomic_energies[0].numpy()
    np.testing.assert_allclose(e0s[[1, 2]], [-2.0, -3.0])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_official_file_is_a_parent_too(words, tmp_path, method):
    packed = Path(__file__).parents[1] / "reference" / "mp0_small.model.xz"
    official = tmp_path / "official.model"
    official.write_bytes(lzma.decompress(packed.read_bytes()))
    frames = [shifted(make_frame(i, symbols=("Li",))) for i in range(6)]
    path = write_frames(tmp_path / "lithium.xyz", frames)
    results = tune(
        words,
        f"init_from={official}",
        f"data.train={path}",
        f"finetune.method={method}",
        "finetune.elements=data",
        "finetune.guard_frames=5",
        "trainer.max_epochs=1",
        "optim.lr=1e-12",
        "ema.decay=null",
    )
    model = load_model(tmp_path / "run" / "model.safetensors", dtype="float64")
    parent = load_model(official, dtype="float64")
    assert model.elements.symbols == ("Li",)
    one, two = make_frame(40, symbols=("Li",)), make_frame(40, symbols=("Li",))
    one.calc, two.calc = MACECalculator(model), MACECalculator(parent)
    np.testing.assert_allclose(one.get_forces(), two.get_forces(), atol=1e-7)
    (guard,) = [
        row
        for row in results["fine_tuning"]["before_after"]["sets"]
        if row["set"] == "guard"
    ]
    assert "built of the parent's elements" in guard["origin"]


def replayed(tmp_path, frames):
    return f"data.replay={write_frames(tmp_path / 'replay.xyz', frames)}"


def rows_by_head(results):
    rows = results["fine_tuning"]["before_after"]["sets"]
    return {(row["set"], row["head"]): row for row in rows}


def test_a_split_file_of_the_users_frames_leaves_replayed_ones_in_training(
    words, tmp_path, caplog
):
    tune(words, f"run_dir={tmp_path / 'first'}", "trainer.max_epochs=1")
    split = tmp_path / "first" / "split.json"
    replay = replayed(tmp_path, [make_frame(30 + i, symbols=("Li", "F")) for i in range(5)])
    caplog.clear()
    tune(words, replay, f"data.split_file={split}", "trainer.max_epochs=1")
    assert "in no subset" not in caplog.text
    written = json.loads((tmp_path / "run" / "split.json").read_text())
    assert written["num_frames"] == {"train": 9 + 5, "valid": 3, "test": 0}
    assert [["replay.xyz", k] in written["train"] for k in range(5)] == [True] * 5


def test_replayed_molecules_need_no_stress_beside_crystals(words, tmp_path, caplog):
    frames = [make_frame(30 + i, symbols=("Li", "F"), molecule=True) for i in range(5)]
    replay = replayed(tmp_path, frames)
    words += ["finetune.replay_labels=parent", "trainer.max_epochs=1"]
    results = tune(words, replay, "loss.stress_weight=10")
    assert "no frame of the head Default has a label for stress" in caplog.text
    assert "stress_weight: 10" in (tmp_path / "run" / "config.yaml").read_text()
    assert results["valid"]["stress_rmse"] > 0


def test_replayed_crystals_keep_their_stress_beside_molecules(words, tmp_path, caplog):
    frames = [shifted(make_frame(i, molecule=True)) for i in range(10)]
    path = write_frames(tmp_path / "molecules.xyz", frames)
    replay = replayed(tmp_path, [make_frame(30 + i) for i in range(5)])
    results = tune(words, f"data.train={path}", replay, "trainer.max_epochs=1")
    assert "no frame of the head finetuned has a label for stress" in caplog.text
    assert "loss.stress_weight=0" not in caplog.text
    config = compose("train", words)
    weight = config["loss"]["stress_weight"]
    assert weight > 0
    assert f"stress_weight: {weight}" in (tmp_path / "run" / "config.yaml").read_text()
    assert results["valid"]["stress_rmse"] is None


def test_frames_to_replay_without_any_label_are_refused_if_they_are_to_have_some(
    words, tmp_path
):
    frames = [make_frame(30 + i) for i in range(5)]
    for atoms in frames:
        without(atoms, "energy", "forces", "stress")
    with pytest.raises(ValueError, match=r"head Default: none of its 5 training frames"):
        tune(words, replayed(tmp_path, frames), "finetune.replay_labels=file")


def test_sets_of_the_guard_name_their_labels_and_may_hold_dropped_elements(words, tmp_path):
    frames = [make_frame(60 + i) for i in range(3)]
    frames += [make_frame(70, symbols=("Li", "F"))]
    for atoms in frames:
        atoms.info["mine"] = atoms.info.pop("energy")
        atoms.arrays["theirs"] = atoms.arrays.pop("forces")
    path = write_frames(tmp_path / "guard.xyz", frames)
    guard = f"[{{path: {path}, energy_key: mine, forces_key: theirs}}]"
    results = tune(
        words, f"data.guard={guard}", "finetune.elements=data", "trainer.max_epochs=1"
    )
    row = rows_by_head(results)["guard", "Default"]
    assert row["origin"] == "data.guard, 4 frames (1 with other elements left out)"
    assert row["before"]["num_frames"] == 3
    assert row["before"]["forces_rmse"] > 1e-3
    foreign = write_frames(tmp_path / "foreign.xyz", [make_frame(80, symbols=("Li", "S"))])
    with pytest.raises(ValueError, match=r"parent does not know S,.* It knows H Li O F"):
        tune(
            words,
            f"data.guard={foreign}",
            "finetune.elements=data",
            f"run_dir={tmp_path / 'other'}",
        )


def test_forces_under_an_unknown_name_are_not_left_out_in_silence(words, tmp_path):
    frames = [shifted(make_frame(i)) for i in range(8)]
    for atoms in frames:
        atoms.arrays["gaussian_forces"] = atoms.arrays.pop("forces")
    path = write_frames(tmp_path / "renamed.xyz", frames)
    with pytest.raises(ValueError, match=r"data\.forces_key=gaussian_forces"):
        tune(words, f"data.train={path}")


def test_files_without_any_known_label_are_refused_with_their_names(words, tmp_path):
    frames = [without(make_frame(i), "energy", "forces", "stress") for i in range(8)]
    for atoms in frames:
        atoms.info["Etot_PBE"] = -1.0
    path = write_frames(tmp_path / "unlabelled.xyz", frames)
    with pytest.raises(ValueError, match="Etot_PBE"):
        tune(words, f"data.train={path}")


def test_a_head_that_the_model_will_not_have_is_refused_with_those_it_has(words, mine):
    with pytest.raises(ValueError, match=r"names the head foo, .* one head, Default"):
        tune(words, f"data.train=[{{path: {mine}, head: foo}}]")
    tune(words, f"data.train=[{{path: {mine}, head: Default}}]", "trainer.max_epochs=1")


def test_a_file_that_is_trained_on_and_validates_is_told(words, mine, caplog):
    tune(words, f"data.valid={mine}", "trainer.max_epochs=1")
    assert "mine.xyz is in data.train and in data.valid" in caplog.text


def test_a_second_stage_that_only_got_worse_leaves_the_best_of_the_first(words, tmp_path):
    """Its first epoch ruins the model, whatever its own loss was at the start."""
    more = ["stage_two.start_epoch=1", "stage_two.lr=5.0", "optim.clip_norm=null"]
    tune(words, "finetune.method=full", "ema.decay=null", *more)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert not (checkpoints / "best.ckpt").exists()
    model = load_model(tmp_path / "run" / "model.safetensors")
    first = load_model(checkpoints / "best_stage_one.ckpt")
    for name, value in first.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    assert read_metadata(tmp_path / "run" / "model.safetensors")["num_epochs"] == 1
