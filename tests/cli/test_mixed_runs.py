"""Whole runs on two sets with two heads: what is trained, written and refused."""

import json
import logging

import numpy as np
import pytest
import torch
from ase.io import read
from small_crystals import isolated_atom, make_frame, without, write_frames

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.model_file import check_probes, load_model, read_metadata
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_evaluate import run as evaluate
from mace_train.cli.run_train import run


@pytest.fixture
def files(tmp_path):
    oxides = [make_frame(i) for i in range(12)]
    fluorides = [make_frame(50 + i, symbols=("Li", "F")) for i in range(4)]
    for atoms in fluorides:
        atoms.info["energy"] += 400.0  # another zero of energy: another level of theory
    fluorides += [isolated_atom("Li", 99.0), isolated_atom("F", 98.0)]
    write_frames(tmp_path / "pbe.xyz", oxides)
    write_frames(tmp_path / "scan.xyz", fluorides)
    return tmp_path


@pytest.fixture
def two_heads(files, tiny_run):
    """Overrides of a run on two sets, and how to name the sets otherwise."""

    def overrides(pbe="", scan=""):
        sets = (
            f"{{path: {files}/pbe.xyz, head: pbe{pbe}}}",
            f"{{path: {files}/scan.xyz, head: scan, e0s: isolated_atoms{scan}}}",
        )
        return [*tiny_run, f"data.train=[{', '.join(sets)}]"]

    return overrides


def test_a_run_on_two_heads_tells_of_each(two_heads, files):
    results = run(compose("train", two_heads(scan=", weight: 5.0, name: mine")))
    assert list(results) == [
        "train", "train/pbe", "train/scan", "valid", "valid/pbe", "valid/scan",
    ]  # fmt: skip
    for split in ("train", "valid"):
        parts = [results[f"{split}/{head}"]["num_frames"] for head in ("pbe", "scan")]
        assert sum(parts) == results[split]["num_frames"]
    path = files / "run" / "model.safetensors"
    model = load_model(path)
    assert model.heads == ("pbe", "scan")
    assert model.elements.symbols == ("Li", "O", "F")
    e0s = model.atomic_energies_fn.atomic_energies
    assert e0s[1].tolist() == [99.0, 0.0, 98.0]
    assert check_probes(path).energy_per_atom < 1e-10
    record = read_metadata(path)
    assert [one["head"] for one in record["data_sets"]] == ["pbe", "scan"]
    assert [one["name"] for one in record["data_sets"]] == ["pbe.xyz", "mine"]
    assert [one["forces_weight"] for one in record["data_sets"]] == [1.0, 5.0]
    assert record["mixing"] == "size"
    statistics = record["statistics"]
    assert set(statistics["heads"]) == {"pbe", "scan"}
    assert statistics["avg_num_neighbors"] == model.hyperparameters["avg_num_neighbors"]
    assert "valid/scan" in (files / "run" / "log.txt").read_text()


def test_a_head_is_evaluated_by_name(two_heads, files, tiny_run):
    run(compose("train", [*two_heads(), "data.split=random", "data.test_fraction=0"]))
    words = [
        f"checkpoint={files}/run/model.safetensors",
        f"data.test={files}/scan.xyz",
        f"data.cache_dir={files}/cache",
        "figures=false",
    ]
    of_scan = evaluate(compose("evaluate", [*words, f"output={files}/s", "head=scan"]))
    of_pbe = evaluate(compose("evaluate", [*words, f"output={files}/p", "head=pbe"]))
    assert of_scan["test"]["energy_per_atom_mae"] < 5.0
    assert of_pbe["test"]["energy_per_atom_mae"] > 50.0
    with pytest.raises(ConfigError, match=r"several; choose one of pbe \| scan"):
        evaluate(compose("evaluate", [*words, f"output={files}/x"]))


@pytest.mark.slow
def test_an_even_run_that_goes_on_equals_one_that_was_not_stopped(two_heads, files):
    words = [*two_heads(), "data.mixing=even", "data.batch_size=3"]

    def train(name, epochs):
        more = [f"run_dir={files / name}", f"trainer.max_epochs={epochs}"]
        run(compose("train", [*words, *more]))
        return load_model(files / name / "checkpoints" / "last.ckpt").state_dict()

    whole = train("whole", 4)
    train("parts", 2)
    parts = train("parts", 4)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert (files / "whole" / "split.json").read_text() == (
        files / "parts" / "split.json"
    ).read_text()


@pytest.mark.slow
def test_weights_and_mixing_change_what_is_learnt(two_heads, files):
    def weights(name, words):
        run(compose("train", [*words, f"run_dir={files / name}"]))
        return torch.cat([p.flatten() for p in load_model(
            files / name / "model.safetensors").parameters()])  # fmt: skip

    plain = weights("plain", two_heads())
    same = weights("same", two_heads(scan=", weight: 1.0, energy_weight: 1.0"))
    heavy = weights("heavy", two_heads(scan=", forces_weight: 50.0"))
    even = weights("even", [*two_heads(), "data.mixing=even"])
    assert torch.equal(plain, same)
    assert not torch.equal(plain, heavy)
    assert not torch.equal(plain, even)


def test_one_set_as_a_mapping_is_the_run_on_its_file(tiny_run, frames_file, tmp_path):
    plain = run(compose("train", [*tiny_run, f"run_dir={tmp_path / 'a'}"]))
    mapping = f"data.train={{path: {frames_file}}}"
    other = run(compose("train", [*tiny_run, mapping, f"run_dir={tmp_path / 'b'}"]))
    assert plain == other


def test_a_split_file_serves_several_sets(two_heads, files):
    run(compose("train", two_heads()))
    split = json.loads((files / "run" / "split.json").read_text())
    assert {name for name, _ in split["train"]} == {"pbe.xyz", "scan.xyz"}
    words = [f"data.split_file={files}/run/split.json", f"run_dir={files}/again", "seed=3"]
    run(compose("train", [*two_heads(), *words]))
    again = json.loads((files / "again" / "split.json").read_text())
    assert again["train"] == split["train"]
    assert again["valid"] == split["valid"]


def test_validation_sets_of_their_own_have_heads(two_heads, files):
    write_frames(files / "valid.xyz", [make_frame(80 + i) for i in range(3)])
    valid = f"data.valid={{path: {files}/valid.xyz, head: pbe}}"
    results = run(compose("train", [*two_heads(), valid]))
    assert "valid/scan" not in results
    assert results["valid/pbe"] == results["valid"]
    with pytest.raises(ValueError, match=r"head Default, which no set of data.train has"):
        run(compose("train", [*two_heads(), f"data.valid={files}/valid.xyz"]))


def test_a_head_without_a_label_of_the_loss_is_refused_with_the_cure(two_heads, files):
    poor = [without(make_frame(i, symbols=("Li", "F")), "stress") for i in range(4)]
    poor += [isolated_atom("Li", 99.0), isolated_atom("F", 98.0)]
    write_frames(files / "scan.xyz", poor)
    with pytest.raises(ValueError, match="head scan:\nnone of the"):
        run(compose("train", two_heads()))
    results = run(compose("train", two_heads(scan=", stress_weight: 0.0")))
    assert results["train/scan"]["stress_mae"] is None


def test_several_heads_do_not_start_from_a_model(two_heads, tiny_run, files):
    run(compose("train", [*tiny_run, f"run_dir={files}/parent"]))
    parent = f"init_from={files}/parent/model.safetensors"
    keep = [word for word in two_heads() if not word.startswith("model.")]
    with pytest.raises(ValueError, match=r"heads pbe, scan, but a run that starts from"):
        run(compose("train", [*keep, parent]))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("[{path: here.xyz, weights: 2}]", r"data.train\[0\].weights: .* mean weight"),
        ("[{path: here.xyz, weight: 0}]", r"data.train\[0\].weight: 0 is not allowed"),
        ("[{path: here.xyz, stress_weight: -1}]", r"stress_weight: -1 is not allowed"),
        ("[here.xyz, {head: pbe}]", r"data.train\[1\].path: is missing"),
        ("[{path: gone.xyz}, {path: here.xyz}]", "data.train: 'gone.xyz' does not exist"),
        ("{path: [here.xyz, gone.xyz]}", "data.train: 'gone.xyz' does not exist"),
        ("[{path: here.xyz, e0s: mp1}]", r"data.train\[0\].e0s: 'mp1' is no such file"),
    ],
)
def test_wrong_sets_are_refused_before_anything_runs(
    train, message, tiny_run, frames_file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "here.xyz", [make_frame(0)])
    with pytest.raises(ConfigError, match=message):
        compose("train", [*tiny_run, f"data.train={train}"])


def test_an_unknown_mixing_is_refused(tiny_run):
    with pytest.raises(ConfigError, match=r"data.mixing: 'evn' .* did you mean even"):
        compose("train", [*tiny_run, "data.mixing=evn"])


def test_even_mixing_of_one_set_is_said_to_change_nothing(tiny_run, caplog):
    caplog.set_level(logging.WARNING, logger="mace_train")
    package = logging.getLogger("mace_train")
    package.addHandler(caplog.handler)
    run(compose("train", [*tiny_run, "data.mixing=even"]))
    package.removeHandler(caplog.handler)
    assert "data.mixing=even has no effect: data.train is one set" in caplog.text


def test_the_loss_of_a_validation_is_weighed_as_the_sets_say(two_heads, files):
    """Sums by hand from the errors of single frames, labels counted once each."""
    words = ["loss=energy_forces", "loss.forces_weight=0", "data.valid_fraction=0.3"]
    run(compose("train", [*two_heads(scan=", weight: 3.0"), *words]))
    model = load_model(files / "run" / "checkpoints" / "last.ckpt")  # as was validated
    split = json.loads((files / "run" / "split.json").read_text())["valid"]
    squares = []
    for name, place in split:
        atoms = read(files / name, place)
        head, weight = ("pbe", 1.0) if name == "pbe.xyz" else ("scan", 3.0)
        reference = atoms.get_potential_energy() if atoms.calc else atoms.info["energy"]
        atoms.calc = MACECalculator(model, head=head)
        error = (atoms.get_potential_energy() - reference) / len(atoms)
        squares.append(weight * error**2)
    header, row = (files / "run" / "metrics.csv").read_text().splitlines()
    loss = float(dict(zip(header.split(","), row.split(",")))["valid/loss"])
    weight = compose("train", [*two_heads(), *words])["loss"]["energy_weight"]
    assert loss == pytest.approx(weight * np.mean(squares), rel=1e-9)
