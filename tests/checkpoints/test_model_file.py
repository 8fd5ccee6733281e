import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.model_file import (
    ModelFileError,
    check_probes,
    floating_dtype,
    load_model,
    read_metadata,
    read_probes,
    save_model,
)
from mace_train.checkpoints.probes import make_probes

METADATA = {
    "units": {"energy": "eV", "length": "Å"},
    "versions": {"torch": str(torch.__version__)},
    "statistics": {"avg_num_neighbors": 0.1 + 0.2},
}


@pytest.fixture
def saved(tiny_model, graphs, tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, tiny_model, metadata=METADATA, probes=make_probes(tiny_model, graphs))
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_model_predicts_bit_for_bit_the_same(tiny_model, graphs, tmp_path, dtype):
    model = tiny_model.to(dtype)
    save_model(tmp_path / "m.safetensors", model, metadata={})
    again = load_model(tmp_path / "m.safetensors")
    assert again.hyperparameters == model.hyperparameters
    for graph in graphs:
        expected = model(graph.to(dtype=dtype), compute_stress=True)
        found = again(graph.to(dtype=dtype), compute_stress=True)
        for name in ("energy", "forces", "stress", "node_energies"):
            assert torch.equal(getattr(found, name), getattr(expected, name))


def test_the_content_tells_what_a_file_is_and_not_its_name(saved, tmp_path):
    shutil.copy(saved, tmp_path / "model.ckpt")
    assert load_model(tmp_path / "model.ckpt").num_parameters


def test_a_model_is_read_in_the_dtype_that_is_asked_for(saved):
    assert next(load_model(str(saved), dtype="float32").parameters()).dtype == torch.float32
    assert next(load_model(saved, dtype=torch.float64).parameters()).dtype == torch.float64
    with pytest.raises(ValueError, match=r"dtype=float16.*use float32 or float64"):
        load_model(saved, dtype="float16")
    assert floating_dtype(None) is None


def test_metadata_comes_back_as_it_was(saved):
    assert read_metadata(saved) == METADATA


def test_numpy_numbers_and_paths_are_written_as_plain_values(tiny_model, tmp_path):
    metadata = {"mean": np.float64(0.1), "e0s": np.arange(3), "data": Path("a.xyz")}
    save_model(tmp_path / "m.safetensors", tiny_model, metadata=metadata)
    expected = {"mean": 0.1, "e0s": [0, 1, 2], "data": "a.xyz"}
    assert read_metadata(tmp_path / "m.safetensors") == expected


def test_metadata_that_json_cannot_hold_is_a_type_error_and_writes_nothing(
    tiny_model, tmp_path
):
    with pytest.raises(TypeError, match=r"metadata holds .*object"):
        save_model(tmp_path / "m.safetensors", tiny_model, metadata={"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_nothing_in_the_file_is_pickled(saved):
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    assert header["mace_train_format"] == "1"
    assert json.loads(header["hyperparameters"])["hidden_irreps"] == "4x0e + 4x1o"
    assert b"cposix" not in saved.read_bytes()


def test_probe_frames_can_be_checked_without_any_data(saved):
    deviations = check_probes(saved)
    assert deviations is not None
    assert deviations.num_frames == 3
    assert deviations.forces < 1e-10


def test_a_file_without_probe_frames_says_so(tiny_model, tmp_path):
    save_model(tmp_path / "m.safetensors", tiny_model, metadata={})
    assert check_probes(tmp_path / "m.safetensors") is None


def test_an_interrupted_write_leaves_the_old_file_and_no_other(
    saved, tiny_model, monkeypatch
):
    before = saved.read_bytes()

    def fail(self, target):
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_model(saved, tiny_model, metadata={})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_every_truncation_is_one_clear_error(saved):
    good = saved.read_bytes()
    for end in [*range(0, 40), 100, 1000, len(good) // 2, len(good) - 1]:
        saved.write_bytes(good[:end])
        with pytest.raises(
            ModelFileError, match=r"cannot read .*model\.safetensors: it is"
        ):
            load_model(saved)


def test_a_changed_byte_is_noticed_wherever_it_is(saved):
    good = saved.read_bytes()
    for place in [*range(0, 24), *range(100, len(good), max(1, len(good) // 200))]:
        data = bytearray(good)
        data[place] ^= 0x10
        saved.write_bytes(data)
        with pytest.raises(ValueError, match="cannot read"):
            load_model(saved)


def test_a_newer_format_says_to_update(tmp_path):
    header = dict.fromkeys(("hyperparameters", "metadata", "sha256"), "{}")
    path = tmp_path / "new.safetensors"
    save_file({"x": torch.ones(1)}, path, {**header, "mace_train_format": "7"})
    with pytest.raises(ModelFileError, match=r"format '7'.*update mace-train"):
        load_model(path)


def test_foreign_files_are_named_for_what_they_are(tmp_path, tiny_model):
    path = tmp_path / "x"
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(ModelFileError, match="safetensors file, but not a model"):
        load_model(path)
    torch.save(tiny_model.state_dict(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(ModelFileError, match=r"before torch 1\.6"):
        load_model(path)
    torch.save(tiny_model.state_dict(), path)
    with pytest.raises(ModelFileError, match="do not tell their architecture"):
        load_model(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ModelFileError, match="Linear, which is not supported"):
        load_model(path)
    for content in (b"\x89HDF\r\n\x1a\n" + bytes(100), b"12\nLattice=...", b"\x7fELF"):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"not a model file of mace-train \(\.saf"):
            load_model(path)
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="it is empty"):
        load_model(path)


def test_an_unsafe_file_is_refused_with_its_path_and_the_name(tmp_path):
    path = tmp_path / "evil.model"
    torch.save({"x": shutil.rmtree}, path)
    with pytest.raises(UnsafeFileError, match=r"evil\.model.*'shutil\.rmtree'"):
        load_model(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelFileError, match=r"folder.*model\.safetensors"):
        load_model(tmp_path)


def test_official_files_are_read_by_the_same_function(official_file):
    model = load_model(official_file("mp0_small"), dtype="float32")
    assert model.heads == ("Default",)
    with pytest.raises(ModelFileError, match="no metadata"):
        read_metadata(official_file("mp0_small"))
    with pytest.raises(ModelFileError, match="only a model file of mace-train"):
        check_probes(official_file("mp0_small"))


def test_training_checkpoints_are_read_by_the_same_function(tiny_model, graphs, tmp_path):
    state = {f"model.{name}": value for name, value in tiny_model.state_dict().items()}
    entry = {
        "format": 1,
        "hyperparameters": tiny_model.hyperparameters,
        "metadata": METADATA,
        "ema_model_state": None,
    }
    torch.save({"state_dict": state, "mace_train": entry}, tmp_path / "last.ckpt")
    model = load_model(tmp_path / "last.ckpt")
    assert torch.equal(model(graphs[1]).energy, tiny_model(graphs[1]).energy)
    assert read_metadata(tmp_path / "last.ckpt") == METADATA


def test_a_converted_official_file_gives_the_same_predictions(
    official_file, graphs, tmp_path
):
    model = load_model(official_file("mp0b3"))
    save_model(tmp_path / "m.safetensors", model, metadata={})
    again = load_model(tmp_path / "m.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_reading_models_imports_neither_mace_nor_lightning_nor_hdf5(saved, official_file):
    program = f"""
import sys
from mace_train import load_model
load_model({str(saved)!r})
load_model({str(official_file("mp0_small"))!r})
foreign = {{"mace", "lightning", "h5py", "hydra", "wandb", "torch_ema"}}
print([name for name in sys.modules if name.split(".")[0] in foreign])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"


def test_probe_frames_are_read_where_there_are_any(
    saved, tiny_model, graphs, official_file, tmp_path
):
    probes = read_probes(saved)
    assert probes is not None
    assert len(probes.num_atoms) == len(graphs)
    save_model(tmp_path / "without.safetensors", tiny_model, metadata={})
    assert read_probes(tmp_path / "without.safetensors") is None
    assert read_probes(official_file("mp0_small")) is None
