import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_evaluate import run
from mace_train.data.dataset import GraphDataset
from mace_train.training.evaluation import evaluate_model

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import (
    R_MAX,
    isolated_atom,
    make_frame,
    small_model,
    store_of,
    without,
    write_frames,
)


@pytest.fixture
def frames(tmp_path):
    """A file of five labelled frames and an isolated atom."""
    return write_frames(tmp_path / "labelled.xyz", [*labelled(), isolated_atom("Li", -1.0)])


def labelled():
    return [make_frame(i, molecule=i == 2, config_type="bulk") for i in range(5)]


def saved(tmp_path, model, name="model.safetensors"):
    save_model(tmp_path / name, model, metadata={})
    return str(tmp_path / name)


def evaluate(tmp_path, *overrides, output="out"):
    always = [f"output={tmp_path / output}", f"data.cache_dir={tmp_path / 'cache'}"]
    return run(compose("evaluate", [*always, *overrides]))


@pytest.mark.parametrize(("dtype", "relative"), [("float64", 1e-9), ("float32", 1e-5)])
def test_results_equal_those_of_the_model_in_memory(tmp_path, frames, dtype, relative):
    model = small_model().to(getattr(torch, dtype))
    store = store_of(tmp_path, labelled(), name="same.xyz")
    dataset = GraphDataset(
        store,
        np.arange(5),
        elements=model.elements,
        r_max=R_MAX,
        dtype=getattr(torch, dtype),
    )
    expected = evaluate_model(model, dataset, batch_size=3).results
    path = saved(tmp_path, model)
    results = evaluate(
        tmp_path, f"checkpoint={path}", f"data.test={frames}", "data.batch_size=2"
    )["test"]
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())["test"]
    for name, value in results.items():
        assert value == pytest.approx(expected[name], rel=relative), name


def test_everything_is_written_into_the_output_folder(tmp_path, frames):
    evaluate(
        tmp_path, f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"
    )
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        "results.json",
        "errors.json",
        "predictions.extxyz",
        "log.txt",
        "parity_energy.png",
        "parity_forces.png",
        "parity_stress.png",
    }
    predictions = read(tmp_path / "out" / "predictions.extxyz", ":")
    assert [atoms.info["source_index"] for atoms in predictions] == [0, 1, 2, 3, 4]
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "energy (meV/atom)" in log
    assert "1 frames of isolated atoms are not scored" in log
    errors = json.loads((tmp_path / "out" / "errors.json").read_text())["test"]
    assert errors["per_config_type"]["bulk"]["num_frames"] == 5


def test_float64_can_be_asked_for(tmp_path, frames):
    path = saved(tmp_path, small_model().float())
    asked = (f"checkpoint={path}", f"data.test={frames}", "figures=false")
    single = evaluate(tmp_path, *asked)["test"]
    double = evaluate(tmp_path, *asked, "dtype=float64")["test"]
    assert single["forces_mae"] != double["forces_mae"]
    assert single["forces_mae"] == pytest.approx(double["forces_mae"], rel=1e-4)
    assert load_model(path).node_embedding.linear.weight.dtype == torch.float32


def test_an_element_unknown_to_the_model_is_refused_with_its_frames(tmp_path):
    other = [make_frame(0), make_frame(1, symbols=("Li", "Fe"))]
    test = write_frames(tmp_path / "other.xyz", other)
    path = saved(tmp_path, small_model())
    with pytest.raises(ValueError, match="does not know Fe, which 1 of 2 frames") as error:
        evaluate(tmp_path, f"checkpoint={path}", f"data.test={test}")
    assert "other.xyz, frame 1, Li2Fe2" in str(error.value)
    assert path in str(error.value)


def test_a_file_without_scorable_frames_is_refused(tmp_path):
    test = write_frames(tmp_path / "atoms.xyz", [isolated_atom("Li", -1.0)])
    with pytest.raises(ValueError, match="holds no frame that can be scored"):
        evaluate(
            tmp_path, f"checkpoint={saved(tmp_path, small_model())}", f"data.test={test}"
        )


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path, frames):
    with pytest.raises(ValueError, match=r"labelled\.xyz"):
        evaluate(tmp_path, f"checkpoint={frames}", f"data.test={frames}")


def test_one_of_several_heads_has_to_be_chosen(tmp_path, frames):
    path = saved(tmp_path, small_model(heads=("pbe", "r2scan")))
    asked = (f"checkpoint={path}", f"data.test={frames}", "figures=false")
    with pytest.raises(ConfigError, match=r"choose one of pbe \| r2scan"):
        evaluate(tmp_path, *asked)
    with pytest.raises(ConfigError, match=r"no head 'r2scam'.*did you mean r2scan"):
        evaluate(tmp_path, *asked, "head=r2scam")
    first = evaluate(tmp_path, *asked, "head=pbe")["test"]
    second = evaluate(tmp_path, *asked, "head=r2scan")["test"]
    assert first["energy_per_atom_mae"] != second["energy_per_atom_mae"]


def test_any_ase_calculator_is_scored_by_the_same_code(tmp_path, frames):
    results = evaluate(
        tmp_path,
        "calculator._target_=ase.calculators.lj.LennardJones",
        "calculator.sigma=2.2",
        "calculator.epsilon=0.4",
        "calculator.rc=6.0",
        "calculator.smooth=true",
        f"data.test={frames}",
    )["test"]
    assert results["forces_mae"] < 1e-6
    assert results["stress_mae"] < 1e-7
    assert results["num_frames"] == 5


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("ase.Atoms", "makes a Atoms, which is no ASE calculator"),
        ("ase.calculators.lj.NoSuchCalculator", "NoSuchCalculator"),
    ],
)
def test_what_is_no_calculator_is_refused(tmp_path, frames, target, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(tmp_path, f"calculator._target_={target}", f"data.test={frames}")


def test_the_folder_is_named_after_what_is_scored_on_what(tmp_path, frames, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    path = saved(tmp_path, small_model(), name="runs/mine/model.safetensors")
    asked = [f"checkpoint={path}", f"data.test={frames}", "figures=false"]
    run(compose("evaluate", [*asked, f"data.cache_dir={tmp_path / 'cache'}"]))
    assert (tmp_path / "runs" / "evaluate-mine-labelled" / "results.json").is_file()


def test_a_device_that_is_not_there_is_refused(tmp_path, frames):
    path = saved(tmp_path, small_model())
    with pytest.raises(ConfigError, match="device: 'abacus' cannot be used here"):
        evaluate(tmp_path, f"checkpoint={path}", f"data.test={frames}", "device=abacus")


def test_labels_that_are_absent_give_null(tmp_path):
    test = write_frames(tmp_path / "x.xyz", [without(make_frame(0), "stress")])
    path = saved(tmp_path, small_model())
    asked = (f"checkpoint={path}", f"data.test={test}", "figures=false")
    assert evaluate(tmp_path, *asked)["test"]["stress_mae"] is None
