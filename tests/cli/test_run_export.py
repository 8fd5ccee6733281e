import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.cli import run_export
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_export import run
from mace_train.exports.comparison import predict_model
from mace_train.exports.export_format import ExportFormat

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import small_model

METADATA = {"versions": {"mace-train": "0.1.0"}, "data_checksums": {"a.xyz": "12ab"}}


@pytest.fixture
def written(monkeypatch):
    """Takes the place of all formats: keeps what it was given to write."""
    kept = {}

    def write(path, model, metadata):
        kept.update(model=model, metadata=metadata)
        path.write_text(json.dumps(metadata))

    def predict(path, graphs):
        return predict_model(kept["model"], graphs)

    def form(name, **changes):
        given = {"suffix": ".model", "takes_several_heads": True, "next_step": "read PATH"}
        given |= changes
        return ExportFormat(
            name=name, require=lambda: None, write=write, predict=predict, **given
        )

    formats = {
        "mace_torch": form("mace_torch"),
        "lammps": form("lammps", suffix=".pt", takes_several_heads=False),
    }
    monkeypatch.setattr(run_export, "FORMATS", formats)
    return kept


@pytest.fixture
def model_path(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model(), metadata=METADATA)
    return tmp_path / "model.safetensors"


@pytest.fixture
def two_heads(tmp_path, small_heads=("pbe", "scan")):
    one = small_model().hyperparameters
    several = {name: one[name] * 2 for name in ("atomic_energies", "scale", "shift")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = type(small_model())(**one | several | {"heads": list(small_heads)})
    save_model(tmp_path / "two.safetensors", model.double(), metadata={})
    return tmp_path / "two.safetensors"


def export(checkpoint, *overrides, form="mace_torch"):
    return run(
        compose("export", [f"checkpoint={checkpoint}", f"format={form}", *overrides])
    )


def mistake(checkpoint, *overrides, form="mace_torch"):
    with pytest.raises(ConfigError) as caught:
        export(checkpoint, *overrides, form=form)
    (problem,) = caught.value.problems
    return str(problem)


def test_the_file_stands_beside_the_checkpoint_with_the_form_in_its_name(
    model_path, written
):
    comparison = export(model_path)
    assert comparison.problems == []
    assert (model_path.parent / "model-mace_torch.model").is_file()
    assert (model_path.parent / "model-mace_torch.model.json").is_file()


def test_the_folder_of_a_run_stands_for_its_model(model_path, written):
    export(model_path.parent)
    assert (model_path.parent / "model-mace_torch.model").is_file()


def test_the_origin_travels_with_the_file(model_path, written):
    export(model_path, 'level_of_theory="PBE+U (MPtrj)"', "dtype=float32")
    metadata = written["metadata"]
    assert metadata["data_checksums"] == METADATA["data_checksums"]
    assert metadata["versions"] == METADATA["versions"]  # of the training
    assert metadata["level_of_theory"] == "PBE+U (MPtrj)"
    assert metadata["elements"] == ["Li", "O"]
    told = metadata["export"]
    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    assert told["checkpoint_sha256"] == digest
    assert (told["format"], told["dtype"]) == ("mace_torch", "float32")
    assert "torch" in told["versions"]
    assert next(written["model"].parameters()).dtype == torch.float32


def test_a_level_of_theory_that_is_known_is_kept(tmp_path, written):
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), metadata={"level_of_theory": "r2SCAN"})
    export(path)
    assert written["metadata"]["level_of_theory"] == "r2SCAN"


def test_an_export_of_an_export_tells_of_both(tmp_path, written):
    path = tmp_path / "m.safetensors"
    save_model(path, small_model(), metadata={"export": {"format": "mace_torch"}})
    export(path)
    assert written["metadata"]["export"]["earlier_export"] == {"format": "mace_torch"}


def test_a_file_that_is_there_is_replaced_only_if_asked(model_path, written):
    export(model_path)
    path = model_path.parent / "model-mace_torch.model"
    path.write_text("mine")
    assert "exists; overwrite=true replaces it" in mistake(model_path)
    assert path.read_text() == "mine"
    export(model_path, "overwrite=true")
    assert json.loads(path.read_text())["elements"] == ["Li", "O"]


def test_the_checkpoint_itself_is_never_replaced(model_path, written):
    said = mistake(model_path, f"output={model_path}", "overwrite=true")
    assert "is the checkpoint itself" in said
    assert load_model(model_path)


@pytest.mark.parametrize("exists", [True, False])
def test_an_output_may_be_a_folder(model_path, written, tmp_path, exists):
    folder = tmp_path / "exports"
    if exists:
        folder.mkdir()
    export(model_path, f"output={folder}/")
    assert (folder / "model-mace_torch.model").is_file()


def test_an_output_inside_a_file_is_a_mistake(model_path, written):
    assert "is no folder" in mistake(model_path, f"output={model_path}/x.model")


def test_all_heads_are_written_where_the_form_takes_them(two_heads, written, caplog):
    with caplog.at_level("INFO", logger="mace_train"):
        export(two_heads)
    assert written["model"].heads == ("pbe", "scan")
    assert "a program must name one: pbe | scan" in caplog.text


def test_one_head_is_written_alone_and_named(two_heads, written):
    export(two_heads, "head=scan", form="lammps")
    assert written["model"].heads == ("scan",)
    assert (two_heads.parent / "two-lammps-scan.pt").is_file()


def test_a_head_must_be_chosen_where_a_file_holds_one(two_heads, written):
    said = mistake(two_heads, form="lammps")
    assert "format=lammps holds one; choose one of pbe | scan" in said


def test_a_misspelt_head_is_suggested(two_heads, written):
    said = mistake(two_heads, "head=scna")
    assert said == (
        "head: the model has no head 'scna'; choose one of pbe | scan; did you mean scan?"
    )


def test_the_log_shows_deviations_and_the_next_step(model_path, written, caplog):
    with caplog.at_level("INFO", logger="mace_train"):
        export(model_path)
    assert "forces (eV/Å)" in caplog.text
    assert "float64" in caplog.text
    assert f"read {model_path.parent / 'model-mace_torch.model'}" in caplog.text
