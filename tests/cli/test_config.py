import json

import pytest

from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError


def test_the_default_is_the_tiny_model_on_the_sample():
    config = compose("train")
    assert config["model"]["hidden_irreps"] == "16x0e + 16x1o"
    assert (config["model"]["max_ell"], config["model"]["correlation"]) == (2, 3)
    assert (config["model"]["r_max"], config["model"]["num_radial_basis"]) == (5.0, 8)
    assert config["data"]["train"] == "sample"
    assert config["dtype"] == "float32"


def test_a_config_is_plain_values_without_interpolations():
    text = json.dumps(compose("train"))
    assert "${" not in text
    assert "???" not in text


def test_the_same_command_has_the_same_name_and_folder():
    config = compose("train", ["optim.lr=0.02"])
    assert config["name"] == compose("train", ["optim.lr=0.02"])["name"]
    assert config["name"].startswith("mace_tiny-sample-")
    assert len(config["name"].rpartition("-")[2]) == 8
    assert config["run_dir"] == f"runs/{config['name']}"


@pytest.mark.parametrize(
    "override",
    ["seed=1", "optim.lr=0.02", "model.r_max=4.5", "data.split=random", "dtype=float64"],
)
def test_another_model_data_or_optimizer_is_another_run(override):
    assert compose("train", [override])["name"] != compose("train")["name"]


@pytest.mark.parametrize(
    "override",
    [
        "trainer.max_epochs=99",
        "trainer=cpu",
        "recipe.max_epochs=99",
        "logger=none",
        "resume=never",
        "data.num_workers=2",
        "data.cache_dir=elsewhere",
        "report.train_frames=3",
        "checkpoint.probe_frames=0",
        "run_dir=elsewhere",
    ],
)
def test_a_run_keeps_its_name_when_only_its_course_changes(override):
    assert compose("train", [override])["name"] == compose("train")["name"]


def test_an_integer_and_the_equal_float_are_the_same_run():
    names = {compose("train", [f"model.r_max={r_max}"])["name"] for r_max in ("5", "5.0")}
    assert len(names) == 1


def test_a_given_name_is_kept():
    config = compose("train", ["name=mine"])
    assert (config["name"], config["run_dir"]) == ("mine", "runs/mine")


@pytest.mark.parametrize(
    ("given", "size", "per_rank"),
    [("data.batch_size_per_rank=4", None, 4), ("data.batch_size=32", 32, None)],
)
def test_a_batch_size_replaces_the_other_kind(given, size, per_rank):
    for data in ("data=sample", "data=mptrj data.train=sample"):
        config = compose("train", [*data.split(), given])["data"]
        assert (config["batch_size"], config["batch_size_per_rank"]) == (size, per_rank)


def test_all_problems_are_named_at_once():
    overrides = [
        "model=mace_tinny",
        "optim.lrr=1",
        "trainer.max_epochs=0",
        "data.elements=[H,Xx]",
        "data.units.energy=kcal",
        "data=extxyz",
        "spaces in=a b",
    ]
    with pytest.raises(ConfigError) as caught:
        compose("train", overrides)
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {
        "model",
        "optim.lrr",
        "trainer.max_epochs",
        "data.elements",
        "data.units.energy",
        "data.train",
        "spaces in=a b",
    }


@pytest.mark.parametrize("command", ["train", "prepare", "evaluate"])
def test_a_label_cannot_be_null_and_the_words_for_it_are_said(command):
    with pytest.raises(ConfigError, match=r"null is not allowed; allowed: auto \| none"):
        compose(command, ["data.stress_key=null"])


def test_a_broken_reference_is_named_with_its_reason():
    with pytest.raises(ConfigError) as caught:
        compose("train", ["optim.lr=${recipe.lrr}"])
    (problem,) = caught.value.problems
    assert problem.key == "optim.lr"
    assert "${recipe.lrr} cannot be resolved" in problem.message
    assert "recipe.lrr" in problem.message


def test_the_architecture_is_left_to_the_model_that_training_starts_from(tmp_path):
    path = tmp_path / "parent.safetensors"
    path.touch()
    config = compose("train", [f"init_from={path}"])
    assert config["model"] == {"backend": "auto"}
    assert config["name"].startswith("finetune-sample-")
    assert "max_ell" in compose("train", [f"init_from={path}", "model=mace_tiny"])["model"]
    plain = compose("train", [f"init_from={path}", "model.backend=plain"])["model"]
    assert plain == {"backend": "plain"}
    assert "max_ell" in compose("train", [f"init_from={path}", "model.max_ell=2"])["model"]


def test_another_parent_is_another_run(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).touch()
    names = {compose("train", [f"init_from={tmp_path / name}"])["name"] for name in "ab"}
    assert len(names) == 2


def test_a_presets_wishes_for_a_job_are_dropped_where_none_is_asked_for(tmp_path):
    preset = tmp_path / "experiment" / "big.yaml"
    preset.parent.mkdir()
    preset.write_text("# @package _global_\n# Big.\nsubmit:\n  nodes: 2\n")
    here = compose("train", ["experiment=big"], config_dir=str(tmp_path))
    assert list(here["submit"]) == ["_target_"]
    words = ["experiment=big", "submit=slurm"]
    assert compose("train", words, config_dir=str(tmp_path))["submit"]["nodes"] == 2
    for word in ("submit.nodes=3", "++submit.nodes=3"):
        with pytest.raises(ConfigError, match=r"submit\.nodes"):
            compose("train", ["experiment=big", word], config_dir=str(tmp_path))
