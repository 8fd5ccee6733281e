import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.cli import checks, evaluated
from mace_train.cli.command import Interrupted
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_evaluate import run
from mace_train.data.dataset import GraphDataset
from mace_train.training.evaluation import evaluate_model
from mace_train.training.potentials import CalculatorPotential, ModelPotential
from mace_train.training.prediction_plan import cut_by_edges
from mace_train.training.predictions import FrameFailure

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
        ".lock",
        "parity_energy.png",
        "parity_forces.png",
        "parity_stress.png",
    }
    predictions = read(tmp_path / "out" / "predictions.extxyz", ":")
    assert [atoms.info["source_index"] for atoms in predictions] == [0, 1, 2, 3, 4, 5]
    assert predictions[5].info["predicted_energy"] < 0, "isolated atoms are predicted too"
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


@pytest.mark.parametrize("labelled_atom", [True, False])
def test_frames_without_anything_to_score_are_predicted(tmp_path, labelled_atom, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    bare = without(make_frame(0), "energy", "forces", "stress")
    frames = [isolated_atom("Li", -1.0)] if labelled_atom else [bare]
    test = write_frames(tmp_path / "atoms.xyz", frames)
    path = saved(tmp_path, small_model())
    results = evaluate(tmp_path, f"checkpoint={path}", f"data.test={test}")["test"]
    assert results["energy_per_atom_mae"] is None
    assert results["num_frames"] == (0 if labelled_atom else 1)
    atoms = read(tmp_path / "out" / "predictions.extxyz")
    assert atoms.arrays["predicted_forces"].shape == (len(frames[0]), 3)
    assert "there are no labels, so there are no errors to tell" in caplog.text
    assert not list((tmp_path / "out").glob("*.png"))


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


def test_the_table_of_predictions_has_the_order_of_the_input(tmp_path, frames):
    parquet = pytest.importorskip("pyarrow.parquet")
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"]
    evaluate(tmp_path, *asked, "predictions=parquet", "node_energies=true", "figures=false")
    rows = parquet.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert [row["source_index"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert rows[0]["predicted_energy"] == pytest.approx(
        sum(rows[0]["predicted_node_energies"])
    )
    assert not (tmp_path / "out" / "predictions.extxyz").exists()


def test_predictions_may_be_left_out(tmp_path, frames):
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"]
    evaluate(tmp_path, *asked, "predictions=none", "figures=false")
    assert not list((tmp_path / "out").glob("predictions*"))


def test_parquet_without_its_package_is_a_mistake_before_anything_is_done(
    tmp_path, frames, monkeypatch
):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    path = saved(tmp_path, small_model())
    with pytest.raises(ConfigError, match=r"pip install 'mace-train\[parquet\]'"):
        evaluate(
            tmp_path, f"checkpoint={path}", f"data.test={frames}", "predictions=parquet"
        )


def test_an_empty_committee_is_nothing_to_evaluate(tmp_path, frames):
    with pytest.raises(ConfigError, match="neither it nor a calculator is given"):
        evaluate(tmp_path, "checkpoint=[]", f"data.test={frames}")


def test_frames_that_are_left_out_are_listed(tmp_path, caplog):
    bad = make_frame(1)
    bad.info["energy"] = float("nan")
    frames = [make_frame(0), bad, make_frame(2, symbols=("Li", "Fe")), make_frame(3)]
    test = write_frames(tmp_path / "mixed.xyz", frames)
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={test}"]
    with pytest.raises(ValueError, match="bad_frames=leave_out"):
        evaluate(tmp_path, *asked)
    results = evaluate(tmp_path, *asked, "bad_frames=leave_out", "figures=false")
    assert results["test"]["num_frames"] == 2
    listed = (tmp_path / "out" / "left_out.txt").read_text().splitlines()
    assert ["frame 1" in listed[0], "frame 2" in listed[1]] == [True, True]
    assert "2 frames are left out; all are listed in" in caplog.text
    predictions = read(tmp_path / "out" / "predictions.extxyz", ":")
    assert [atoms.info["source_index"] for atoms in predictions] == [0, 3]
    evaluate(tmp_path, *asked[:1], f"data.test={write_frames(test, frames[:1])}")
    assert not (tmp_path / "out" / "left_out.txt").exists()


def test_a_frame_that_fails_late_is_left_out_and_finished_parts_stay(
    tmp_path, frames, monkeypatch, caplog
):
    cut = lambda edges: cut_by_edges(edges, max_edges=None, max_frames=2)  # noqa: E731
    monkeypatch.setattr(evaluated, "model_parts", cut)
    predict = ModelPotential.__call__

    def failing(self, *parts):
        places = [place for part in parts for place in part]
        for place, outcome in zip(places, predict(self, *parts)):
            yield FrameFailure("frame 4 failed") if place == 4 else outcome

    monkeypatch.setattr(ModelPotential, "__call__", failing)
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"]
    asked += ["workers=1", "figures=false"]
    with pytest.raises(ValueError, match="frame 4 failed"):
        evaluate(tmp_path, *asked)
    results = evaluate(tmp_path, *asked, "bad_frames=leave_out")
    assert "4 of 6 frames are predicted already" in caplog.text
    assert results["test"]["num_frames"] == 4


def test_a_committee_is_scored_by_its_mean(tmp_path, frames):
    paths = [saved(tmp_path, small_model(seed=seed), f"{seed}.model") for seed in range(2)]
    evaluate(
        tmp_path,
        f"checkpoint=[{','.join(paths)}]",
        f"data.test={frames}",
        "figures=false",
    )
    committee = read(tmp_path / "out" / "predictions.extxyz", "0")
    alone = []
    for path in paths:
        evaluate(tmp_path, f"checkpoint={path}", f"data.test={frames}", "figures=false")
        alone.append(read(tmp_path / "out" / "predictions.extxyz", "0"))
    energies = [atoms.info["predicted_energy"] for atoms in alone]
    assert committee.info["predicted_energy"] == pytest.approx(np.mean(energies))
    assert committee.info["predicted_energy_std"] == pytest.approx(np.std(energies))


def fail_at_frame(monkeypatch, number):
    """The model is interrupted when it comes to a certain frame."""
    predict = ModelPotential._predict

    def interrupted(self, graph):
        if number in graph.labels.frame_index:
            raise KeyboardInterrupt
        return predict(self, graph)

    monkeypatch.setattr(ModelPotential, "_predict", interrupted)


def in_parts_of(monkeypatch, num_frames):
    monkeypatch.setattr(
        evaluated,
        "model_parts",
        lambda edges: cut_by_edges(edges, max_edges=None, max_frames=num_frames),
    )


def test_the_same_command_goes_on_after_an_interruption(tmp_path, frames, monkeypatch):
    in_parts_of(monkeypatch, 2)
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"]
    asked += ["figures=false", "workers=1"]
    whole = evaluate(tmp_path, *asked, output="whole")
    with monkeypatch.context() as context:
        fail_at_frame(context, 4)
        with pytest.raises(Interrupted, match="goes on after the 2 parts in") as error:
            evaluate(tmp_path, *asked)
        assert error.value.exit_code == 130
    assert not (tmp_path / "out" / "results.json").exists()
    assert evaluate(tmp_path, *asked) == whole
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "4 of 6 frames are predicted already" in log
    for name in ("predictions.extxyz", "results.json", "errors.json"):
        one, other = ((tmp_path / d / name).read_bytes() for d in ("out", "whole"))
        assert one == other, name
    assert not (tmp_path / "out" / "parts").exists()


def test_an_unfinished_evaluation_of_something_else_is_refused(
    tmp_path, frames, monkeypatch
):
    in_parts_of(monkeypatch, 2)
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"]
    asked += ["figures=false", "workers=1"]
    with monkeypatch.context() as context:
        fail_at_frame(context, 4)
        with pytest.raises(Interrupted):
            evaluate(tmp_path, *asked)
    with pytest.raises(ValueError, match="dtype was 'float64' and is now 'float32'"):
        evaluate(tmp_path, *asked, "dtype=float32")
    results = evaluate(tmp_path, *asked, "dtype=float32", "resume=never")
    assert results["test"]["num_frames"] == 5


def test_before_the_first_part_there_is_nothing_to_go_on_with(
    tmp_path, frames, monkeypatch
):
    fail_at_frame(monkeypatch, 0)
    asked = [f"checkpoint={saved(tmp_path, small_model())}", f"data.test={frames}"]
    with pytest.raises(Interrupted, match="the same command begins anew"):
        evaluate(tmp_path, *asked, "workers=1")


def test_a_calculator_goes_on_too(tmp_path, frames, monkeypatch):
    monkeypatch.setattr(
        evaluated, "calculator_parts", lambda count: [range(i, i + 1) for i in range(count)]
    )
    asked = ["calculator._target_=ase.calculators.lj.LennardJones", f"data.test={frames}"]
    asked += ["figures=false"]
    whole = evaluate(tmp_path, *asked, output="whole")
    calculate = CalculatorPotential._outcome

    def interrupted(self, index, frame):
        if index == 3:
            raise KeyboardInterrupt
        return calculate(self, index, frame)

    with monkeypatch.context() as context:
        context.setattr(CalculatorPotential, "_outcome", interrupted)
        with pytest.raises(Interrupted, match="after the 3 parts"):
            evaluate(tmp_path, *asked)
    assert evaluate(tmp_path, *asked) == whole
    one, other = (
        (tmp_path / d / "predictions.extxyz").read_bytes() for d in ("out", "whole")
    )
    assert one == other
