import os

import pytest
import torch

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.training_checkpoint import (
    is_training_checkpoint,
    load_training_model,
    read_training_checkpoint,
)


@pytest.fixture
def checkpoint(tiny_model):
    """What a run writes, but for what resuming needs."""
    raw = tiny_model.state_dict()
    averaged = {name: value * 1.5 for name, value in raw.items()}
    return {
        "state_dict": {f"model.{name}": value for name, value in raw.items()}
        | {"loss.weight": torch.ones(1)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}}],
        "mace_train": {
            "format": 1,
            "hyperparameters": tiny_model.hyperparameters,
            "metadata": {"commit": "abc"},
            "ema_model_state": averaged,
        },
    }


def test_averaged_weights_are_preferred(checkpoint, tiny_model, tmp_path):
    torch.save(checkpoint, tmp_path / "last.ckpt")
    model = load_training_model(tmp_path / "last.ckpt")
    name = "node_embedding.linear.weight"
    assert torch.equal(model.state_dict()[name], tiny_model.state_dict()[name] * 1.5)


def test_raw_weights_are_read_where_there_are_no_averaged_ones(
    checkpoint, tiny_model, graphs, tmp_path
):
    checkpoint["mace_train"]["ema_model_state"] = None
    torch.save(checkpoint, tmp_path / "last.ckpt")
    model = load_training_model(tmp_path / "last.ckpt")
    assert torch.equal(model(graphs[0]).energy, tiny_model(graphs[0]).energy)


def test_the_entry_is_read_with_the_raw_weights(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert is_training_checkpoint(tmp_path / "last.ckpt")
    entry = read_training_checkpoint(tmp_path / "last.ckpt")
    assert entry["metadata"] == {"commit": "abc"}
    assert "scale_shift.scale" in entry["model_state"]
    assert not [name for name in entry["model_state"] if "loss" in name]


def test_another_torch_file_is_no_training_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    assert not is_training_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="not a training checkpoint of mace-train"):
        load_training_model(tmp_path / "x.ckpt")


class _Evil:
    def __reduce__(self):
        return os.system, ("touch OWNED",)


def test_a_checkpoint_that_would_execute_something_is_refused_by_name(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    checkpoint["callbacks"] = _Evil()
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    with pytest.raises(UnsafeFileError, match=r"Nothing was executed.*(posix|nt)\.system"):
        load_training_model(tmp_path / "evil.ckpt")
    assert not (tmp_path / "OWNED").exists()


def test_a_newer_format_is_named(checkpoint, tmp_path):
    checkpoint["mace_train"]["format"] = 2
    torch.save(checkpoint, tmp_path / "new.ckpt")
    with pytest.raises(ValueError, match=r"format 2.*reads format 1: update"):
        load_training_model(tmp_path / "new.ckpt")


def test_a_truncated_checkpoint_is_a_value_error(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint, path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="damaged"):
        load_training_model(path)
    with pytest.raises(ValueError, match="truncated"):
        is_training_checkpoint(path)


def test_weights_of_another_architecture_are_named(checkpoint, tmp_path):
    checkpoint["mace_train"]["hyperparameters"]["radial_mlp"] = [9]
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"do not fit.*conv_tp_weights"):
        load_training_model(tmp_path / "x.ckpt")
