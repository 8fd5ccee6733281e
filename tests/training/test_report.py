import json

import pytest
from small_crystals import datamodule_of, make_frame, small_model, store_of, without
from test_predictions import predict

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.training.errors import Evaluation
from mace_train.training.report import Report, results_table, write_evaluation

KEYS = [
    "energy_per_atom_mae",
    "energy_per_atom_rmse",
    "forces_mae",
    "forces_rmse",
    "stress_mae",
    "stress_rmse",
    "num_frames",
    "num_atoms",
]


def report_on(tmp_path, *, report, **options):
    datamodule = datamodule_of(tmp_path, [make_frame(i) for i in range(10)], **options)
    datamodule.setup()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("epoch,train/loss\n0,1.0\n1,0.5\n")
    return report.write(tmp_path / "run", small_model(), datamodule=datamodule)


def test_results_json_holds_the_eight_numbers_of_each_split(tmp_path):
    results = report_on(tmp_path, report=Report(), valid_fraction=0.2, test_fraction=0.1)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    assert list(results) == ["train", "valid", "test"]
    assert all(list(row) == KEYS for row in results.values())
    assert [row["num_frames"] for row in results.values()] == [7, 2, 1]


def test_the_training_sample_is_capped_and_an_absent_split_left_out(tmp_path):
    results = report_on(tmp_path, report=Report(train_frames=3), valid_fraction=0.2)
    assert list(results) == ["train", "valid"]
    assert results["train"]["num_frames"] == 3
    assert results["train"]["num_atoms"] == 12


def test_figures_are_drawn_unless_switched_off(tmp_path):
    report_on(tmp_path, report=Report(figures=True))
    drawn = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert drawn == {
        "learning_curves.png",
        "parity_energy.png",
        "parity_forces.png",
        "parity_stress.png",
    }
    second = tmp_path / "second"
    second.mkdir()
    report_on(second, report=Report(figures=False))
    assert not list((second / "run").glob("*.png"))


def test_a_missing_label_is_null_not_zero(tmp_path):
    store = store_of(tmp_path, [without(make_frame(0), "stress")])
    write_evaluation(tmp_path, {"test": Evaluation(predict(store), store)}, figures=False)
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["test"]["stress_mae"] is None
    assert written["test"]["forces_mae"] == 0.0


def test_errors_json_tells_of_elements_and_frames(tmp_path):
    store = store_of(tmp_path, [make_frame(0, config_type="bulk"), make_frame(1)])
    evaluation = Evaluation(predict(store, offset=0.1), store)
    write_evaluation(tmp_path, {"test": evaluation}, figures=False)
    details = json.loads((tmp_path / "errors.json").read_text())["test"]
    assert [row["element"] for row in details["per_element_forces"]] == ["Li", "O"]
    assert details["per_config_type"]["bulk"]["num_frames"] == 1
    assert details["worst_frames"][0]["source"] == "frames.xyz"
    assert details["zero_forces"]["mae"] == pytest.approx(evaluation.zero_forces[0])


def test_the_table_is_aligned_and_in_milli_units(tmp_path):
    store = store_of(tmp_path, [make_frame(0), make_frame(1)])
    evaluations = {
        "train": Evaluation(predict(store, offset=0.002), store),
        "test": Evaluation(predict(store, offset=1.25), store),
    }
    lines = results_table(evaluations).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "energy (meV/atom)" in lines[0]
    assert "zero forces (meV/Å)" in lines[0]
    assert lines[1].split() == ["split", "frames", "atoms", *["MAE", "RMSE"] * 3, "MAE"]
    zero = f"{1000 * evaluations['train'].zero_forces[0]:.1f}"
    assert lines[2].split() == ["train", "2", "8", "0.50", "0.50", *["2.00"] * 4, zero]
    assert lines[3].split()[3:5] == ["312.50", "312.50"]


def test_a_missing_label_is_a_dash_in_the_table(tmp_path):
    store = store_of(tmp_path, [without(make_frame(0), "forces", "stress")])
    lines = results_table({"test": Evaluation(predict(store), store)}).splitlines()
    assert lines[2].split() == ["test", "1", "4", "0.00", "0.00", *["-"] * 5]


def test_heads_have_rows_of_their_own_in_results_and_table(tmp_path):
    parts = [
        store_of(tmp_path, [make_frame(seed)], name=f"{seed}.xyz") for seed in range(2)
    ]
    roles = [SetRole(0), SetRole(1)]
    store = MixedStore(parts, names="ab", roles=roles, heads=["pbe", "scan"])
    evaluation = Evaluation(predict(store, offset=0.1), store)
    results = write_evaluation(tmp_path, {"valid": evaluation}, figures=False)
    assert list(results) == ["valid", "valid/pbe", "valid/scan"]
    assert [row["num_frames"] for row in results.values()] == [2, 1, 1]
    details = json.loads((tmp_path / "errors.json").read_text())
    assert details["valid/scan"]["worst_frames"][0]["source"] == "1.xyz"


def test_what_else_is_told_stands_beside_the_splits(tmp_path):
    store = store_of(tmp_path, [make_frame(0)])
    evaluations = {"test": Evaluation(predict(store), store)}
    extra = {"fine_tuning": {"before_after": {"sets": []}}}
    results = write_evaluation(tmp_path, evaluations, figures=False, extra=extra)
    assert list(results) == ["test", "fine_tuning"]
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert list(json.loads((tmp_path / "errors.json").read_text())) == ["test"]
    with pytest.raises(ValueError, match=r"results.json already has test"):
        write_evaluation(tmp_path, evaluations, figures=False, extra={"test": {}})
