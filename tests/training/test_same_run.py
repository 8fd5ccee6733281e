"""What would make another run of a checkpoint is refused; other changes are recorded."""

import copy

import pytest
from made_checkpoints import write_checkpoint

from mace_train.checkpoints.training_checkpoint import read_training_checkpoint
from mace_train.training.same_run import config_changes, require_same_run

SAVED = {
    "config": {
        "dtype": "float32",
        "seed": 0,
        "name": "mine",
        "resume": "auto",
        "init_from": None,
        "data": {
            "train": "a.xyz",
            "split": "auto",
            "split_file": None,
            "valid_fraction": 0.1,
            "mixing": "size",
            "forces_key": "auto",
            "units": {"energy": "eV"},
            "num_workers": 4,
            "batch_size": 32,
            "batch_size_per_rank": None,
        },
        "loss": {"_target_": "UniversalLoss", "forces_weight": 10.0},
        "optim": {"algorithm": "adam", "amsgrad": True, "lr": 0.01},
        "schedule": {"_target_": "CosineSchedule", "num_epochs": 10},
        "trainer": {"max_epochs": 10, "devices": 1},
    },
    "data_checksums": {"a.xyz": "a" * 64, "b.xyz": "b" * 64},
    "global_batch_size": 32,
    "world_size": 1,
    "versions": {"torch": "2.13.0", "python": "3.11"},
    "git_commit": None,
}


def _with(**values):
    """The same run, but for some dotted keys (with __ for the dot)."""
    metadata = copy.deepcopy(SAVED)
    for key, value in values.items():
        *groups, name = key.split("__")
        place = metadata
        for group in groups:
            place = place[group]
        place[name] = value
    return metadata


def test_the_same_run_goes_on_without_changes():
    require_same_run(SAVED, _with())
    assert config_changes(SAVED, _with(), step=3) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"config__seed": 1}, "seed is 0 in the checkpoint and 1 now: set seed=0"),
        ({"config__dtype": "float64"}, "set dtype=float32"),
        ({"config__init_from": "x.model"}, "'x.model' now: set init_from=null"),
        ({"config__loss___target_": "HuberLoss"}, "'UniversalLoss' in the checkpoint"),
        ({"config__optim__algorithm": "adamw"}, "set optim.algorithm=adam"),
        ({"config__optim__amsgrad": False}, "set optim.amsgrad=true"),
        ({"config__data__mixing": "even"}, "set data.mixing=size"),
        ({"config__data__forces_key": "F"}, "set data.forces_key=auto"),
        ({"config__data__units__energy": "kcal"}, "set data.units.energy=eV"),
        ({"config__data__split": "random"}, "set data.split=auto"),
        ({"config__data__valid_fraction": 0.2}, "set data.valid_fraction=0.1"),
        (
            {"global_batch_size": 64},
            "the global batch has 32 frames in the checkpoint and 64 now: set "
            "data.batch_size=32 data.batch_size_per_rank=null",
        ),
        (
            {"data_checksums": {"a.xyz": "a" * 64, "b.xyz": "c" * 64}},
            "b.xyz has sha256 bbbbbbbbbbbb in the checkpoint and cccccccccccc now",
        ),
        ({"data_checksums": {"a.xyz": "a" * 64}}, "b.xyz is missing now"),
        ({"data_checksums": SAVED["data_checksums"] | {"c.xyz": "1"}}, "c.xyz is new"),
        (
            {"data_checksums": {"b.xyz": "b" * 64, "a.xyz": "a" * 64}},
            "their order is another",
        ),
    ],
)
def test_what_would_make_another_run_is_refused_with_both_values_and_the_cure(change, said):
    with pytest.raises(ValueError, match=r"^runs/x/last\.ckpt belongs to another") as error:
        require_same_run(SAVED, _with(**change), path="runs/x/last.ckpt")
    assert said in str(error.value)
    assert "name=..." in str(error.value)


def test_moved_files_with_the_same_content_are_no_difference():
    moved = {"/new/place/a.xyz": "a" * 64, "b2.xyz": "b" * 64}
    require_same_run(SAVED, _with(data_checksums=moved, config__data__train="/new/place"))


def test_the_checksum_of_a_split_says_more_than_its_settings():
    saved = _with(split_checksum="1")
    same = _with(split_checksum="1", config__data__split_file="runs/x/split.json")
    require_same_run(saved, same)
    with pytest.raises(ValueError, match=r"other frames are .*data.split_file=split.json"):
        require_same_run(saved, _with(split_checksum="2"))


def test_other_files_for_validation_are_refused_where_they_are_known():
    saved = _with(valid_checksums={"v.xyz": "1" * 64})
    with pytest.raises(ValueError, match=r"files of data.valid: v.xyz has sha256 1{12} in"):
        require_same_run(saved, _with(valid_checksums={"v.xyz": "2" * 64}))
    require_same_run(saved, SAVED)


def test_sets_may_be_weighed_otherwise_but_not_change_heads():
    sets = [{"path": "a.xyz", "head": "pbe"}, {"path": "b.xyz", "weight": 2.0}]
    saved = _with(config__data__train=sets)
    heavier = [sets[0], {"path": "b.xyz", "weight": 3.0}]
    require_same_run(saved, _with(config__data__train=heavier))
    other = [sets[0], {"path": "b.xyz", "head": "pbe"}]
    with pytest.raises(ValueError, match=r"heads \['pbe', 'Default'\] in the checkpoint"):
        require_same_run(saved, _with(config__data__train=other))


def test_what_an_older_checkpoint_does_not_tell_is_not_compared():
    require_same_run({}, SAVED)
    older = _with()
    del older["global_batch_size"], older["config"]["data"]["mixing"]
    require_same_run(older, SAVED)
    assert config_changes({}, SAVED, step=1) == []


def test_what_may_change_goes_on_and_is_recorded():
    now = _with(
        config__trainer__max_epochs=50,
        config__trainer__devices=4,
        config__data__num_workers=2,
        config__optim__lr=0.005,
        config__loss__forces_weight=100.0,
        config__resume="last.ckpt",
        config__schedule__num_epochs=50,
        world_size=4,
        versions={"torch": "2.14.0", "python": "3.11"},
    )
    require_same_run(SAVED, now)
    changes = config_changes(SAVED, now, step=120)
    assert {"step": 120, "key": "optim.lr", "from": 0.01, "to": 0.005} in changes
    assert {change["key"] for change in changes} == {
        "trainer.max_epochs",
        "trainer.devices",
        "data.num_workers",
        "optim.lr",
        "loss.forces_weight",
        "world_size",
        "versions.torch",
    }


def test_records_come_back_from_a_checkpoint(tmp_path):
    changes = config_changes(SAVED, _with(config__optim__lr=0.005), step=9)
    metadata = {**SAVED, "config_changes": changes}
    write_checkpoint(tmp_path / "last.ckpt", step=9, metadata=metadata)
    saved = read_training_checkpoint(tmp_path / "last.ckpt")["metadata"]
    assert saved == metadata
    require_same_run(saved, SAVED)


def _tuned(**changes):
    record = {"parent": "p.model", "parent_sha256": "aa", "method": "lora", "lora_rank": 8}
    return {"config": {}, "fine_tuning": {**record, **changes}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parent_sha256": "bb"}, "init_from=p.model holds another model now"),
        (
            {"method": "full"},
            r"finetune\.method is .*lora.* in the checkpoint .*set finetune\.method=lora",
        ),
        ({"lora_rank": 4}, r"set finetune\.lora_rank=8"),
    ],
)
def test_another_parent_or_method_is_another_run(changes, told):
    with pytest.raises(ValueError, match=told):
        require_same_run(_tuned(), _tuned(**changes))


def test_the_same_fine_tuning_goes_on():
    require_same_run(_tuned(), _tuned())
    require_same_run({"config": {}}, _tuned())  # of an older version
