import os

import pytest
import torch

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.training_checkpoint import (
    NewerFormatError,
    is_training_checkpoint,
    load_training_model,
    read_progress,
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


def test_a_torch_file_that_only_tells_of_mace_train_is_no_training_checkpoint(tmp_path):
    """An exported model tells so in its metadata."""
    told = {"mace_train_metadata": '{"config": {"_target_": "mace_train.model.mace.MACE"}}'}
    torch.save(told, tmp_path / "x.model")
    assert not is_training_checkpoint(tmp_path / "x.model")


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
    with pytest.raises(NewerFormatError, match=r"format 2.*reads format 1: update"):
        load_training_model(tmp_path / "new.ckpt")
    with pytest.raises(NewerFormatError):
        read_progress(tmp_path / "new.ckpt")


def test_a_truncated_checkpoint_is_a_value_error(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint, path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match="damaged"):
        load_training_model(path)
    with pytest.raises(ValueError, match="truncated"):
        is_training_checkpoint(path)


def test_every_flipped_bit_is_noticed_or_harmless(checkpoint, tmp_path):
    def content(path):
        return read_training_checkpoint(path), torch.load(path, weights_only=True)

    path = tmp_path / "last.ckpt"
    torch.save(checkpoint | {"global_step": 7}, path)
    data, expected = path.read_bytes(), repr(content(path))
    directory = data.index(b"PK\x01\x02")
    assert len(data) - directory > 1000
    refused = 0
    for place in [*range(40, directory, 997), *range(directory, len(data), 31)]:
        flipped = bytearray(data)
        flipped[place] ^= 16
        path.write_bytes(bytes(flipped))
        try:
            assert repr(content(path)) == expected, place
        except ValueError:
            refused += 1
    assert refused > 20


def test_a_directory_entry_that_claims_to_be_a_folder_is_damage(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 38] ^= 16
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="it is damaged: its entry"):
        read_training_checkpoint(path)


def test_progress_is_read_without_the_tensors(checkpoint, tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoint["mace_train"]["num_epochs"] = 2
    torch.save(checkpoint | {"global_step": 7}, path)
    assert read_progress(path) == (7, 2)
    assert read_training_checkpoint(path)["step"] == 7
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") // 2] ^= 1
    path.write_bytes(bytes(data))
    assert read_progress(path) == (7, 2)
    with pytest.raises(ValueError, match="it is damaged"):
        read_training_checkpoint(path)


def test_weights_of_another_architecture_are_named(checkpoint, tmp_path):
    checkpoint["mace_train"]["hyperparameters"]["radial_mlp"] = [9]
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=r"do not fit.*conv_tp_weights"):
        load_training_model(tmp_path / "x.ckpt")
