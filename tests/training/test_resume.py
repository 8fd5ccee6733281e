"""Checkpoints that cannot be gone on with are refused with the reason."""

import pytest
import torch
from made_checkpoints import DAMAGES, damage, write_checkpoint
from pair_potential import Frames as ToyFrames
from pair_potential import PairPotential, make_frame, make_module, train

from mace_train.training.resume import (
    read_checkpoint,
    require_same_architecture,
    require_same_weights,
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    frames = [make_frame(index) for index in range(6)]
    train(make_module(), ToyFrames(frames[:4], frames[4:]), path, max_epochs=1)
    return path


def test_a_checkpoint_tells_the_epochs_it_holds(run_dir):
    assert read_checkpoint(run_dir / "checkpoints/last.ckpt")["num_epochs"] == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_that_was_cut_short_is_refused_and_nothing_is_begun(
    run_dir, tmp_path, share
):
    whole = (run_dir / "checkpoints/last.ckpt").read_bytes()
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(whole[: int(share * len(whole))])
    frames = ToyFrames([make_frame(index) for index in range(4)])
    with pytest.raises(ValueError, match=r"cannot go on from .*cut\.ckpt") as caught:
        train(make_module(), frames, tmp_path / "new", max_epochs=3, checkpoint=cut)
    assert "resume=never" in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_named_with_the_whole_ones_beside_it(tmp_path, how):
    for name, step in (("last", 30), ("last-1", 20), ("best", 10)):
        write_checkpoint(tmp_path / f"{name}.ckpt", step=step)
    damage(tmp_path / "last.ckpt", how)
    damage(tmp_path / "best.ckpt", how)
    with pytest.raises(
        ValueError, match=r"cannot go on from .*last\.ckpt \(\d+ b"
    ) as error:
        read_checkpoint(tmp_path / "last.ckpt")
    assert f"beside it: {tmp_path}/last-1.ckpt (step 20, 0 whole epochs). To" in str(
        error.value
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no checkpoint .*none\.ckpt"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"weights": torch.ones(2)}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="not a training checkpoint of mace-train"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_file_that_would_execute_something_is_refused(tmp_path):
    torch.save({"mace_train": make_module, "state_dict": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="Nothing was executed"):
        read_checkpoint(tmp_path / "evil.ckpt")


SAVED = {
    "correlation": 3,
    "r_max": 5.0,
    "hidden_irreps": "16x0e",
    "atomic_energies": [[-1.0, -2.0]],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correlation": 2}, "correlation is 3 in the checkpoint and 2 now"),
        ({"r_max": 6.0}, "r_max is 5.0 in the checkpoint and 6.0 now"),
        (
            {"hidden_irreps": "32x0e"},
            "hidden_irreps is '16x0e' in the checkpoint and '32x0e'",
        ),
        ({"atomic_energies": [[-1.0, -2.1]]}, r"atomic_energies is \[\[-1.0, -2.0\]\]"),
        ({"atomic_energies": [[-1.0, -2.0, -3.0]]}, "atomic_energies"),
        ({"heads": ["Default"]}, r"heads is None in the checkpoint and \['Default'\] now"),
    ],
)
def test_the_message_names_the_argument_and_both_values(change, message):
    with pytest.raises(ValueError, match=message):
        require_same_architecture(SAVED, SAVED | change)


def test_rounding_of_the_statistics_is_no_difference():
    require_same_architecture(SAVED, SAVED | {"atomic_energies": ((-1.0 - 1e-12, -2.0),)})


def test_many_differences_are_counted():
    with pytest.raises(ValueError, match="and 3 more"):
        require_same_architecture({}, {f"argument{i}": i for i in range(8)})


def test_tensors_of_other_names_shapes_and_types_are_named():
    current = PairPotential().state_dict()
    saved = PairPotential(num_hidden=7).double().state_dict()
    saved["old.weight"] = saved.pop("readouts.2.bias")
    with pytest.raises(ValueError, match="belongs to another model") as caught:
        require_same_weights(saved, current)
    for part in (
        "readouts.2.bias is missing in the checkpoint",
        "old.weight is only in the checkpoint",
        "readouts.0.weight has shape (7, 8) in the checkpoint and (6, 8) now",
        "atomic_energies is torch.float64 in the checkpoint and torch.float32 now",
    ):
        assert part in str(caught.value)
    require_same_weights(current, current)


def test_e0s_that_were_kept_in_float32_are_no_difference():
    name = "model.atomic_energies_fn.atomic_energies"
    current = {name: torch.zeros(1, 2, dtype=torch.float64)}
    require_same_weights({name: torch.zeros(1, 2)}, current)
    with pytest.raises(ValueError, match="has shape"):
        require_same_weights({name: torch.zeros(1, 3)}, current)
