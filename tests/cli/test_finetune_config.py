import pytest

from mace_train.cli.config import compose
from mace_train.cli.finetune_config import innermost_reference, set_key
from mace_train.cli.problems import ConfigError


@pytest.fixture
def words(frames_file, tmp_path):
    parent = tmp_path / "parent.safetensors"
    parent.write_bytes(b"never read here")
    return ["experiment=finetune", f"init_from={parent}", f"data.train={frames_file}"]


RECIPES = {
    "full": (1e-3, 0.999, 1.0),
    "freeze": (1e-3, 0.999, 1.0),
    "lora": (1e-2, 0.99, 10.0),
    "replay": (1e-4, 0.9999, 1.0),
}


@pytest.mark.parametrize("method", RECIPES)
def test_learning_rate_average_and_clipping_are_those_of_the_method(
    words, method, tmp_path
):
    more = [f"data.replay={tmp_path}/frames.xyz"] if method == "replay" else []
    config = compose("train", [*words, f"finetune.method={method}", *more])
    found = config["optim"]["lr"], config["ema"]["decay"], config["optim"]["clip_norm"]
    assert found == RECIPES[method]
    assert config["optim"]["weight_decay"] == 0
    assert config["finetune"]["open_keys"][:4] == [
        "optim.lr",
        "stage_two.lr",
        "ema.decay",
        "optim.clip_norm",
    ]


@pytest.mark.parametrize(
    ("word", "closed"),
    [
        ("recipe.lr=0.5", {"optim.lr", "stage_two.lr"}),
        ("optim.lr=0.5", {"optim.lr"}),
        ("ema.decay=null", {"ema.decay"}),
        ("recipe.clip_norm=3", {"optim.clip_norm"}),
        ("loss.stress_weight=1", {"loss.stress_weight"}),
    ],
)
def test_what_the_user_gives_the_method_leaves(words, word, closed):
    keys = compose("train", [*words, word])["finetune"]["open_keys"]
    all_keys = compose("train", words)["finetune"]["open_keys"]
    assert set(all_keys) - set(keys) == closed


def test_weights_given_through_the_recipe_are_the_users_in_both_stages(words):
    keys = compose("train", [*words, "recipe.forces_weight=3"])["finetune"]["open_keys"]
    assert not {"loss.forces_weight", "stage_two.forces_weight"} & set(keys)
    assert {"loss.stress_weight", "stage_two.stress_weight"} <= set(keys)


def problems(words):
    with pytest.raises(ConfigError) as caught:
        compose("train", words)
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_an_unknown_method_is_one_problem(words):
    found = problems([*words, "finetune.method=lorra"])
    assert list(found) == ["finetune.method"]
    assert "did you mean lora?" in found["finetune.method"]


def test_replay_needs_frames_to_replay_and_others_have_no_use_for_them(words, frames_file):
    found = problems([*words, "finetune.method=replay"])
    assert "must be given for finetune.method=replay" in found["data.replay"]
    assert "finetune.replay_labels=parent" in found["data.replay"]
    found = problems([*words, "finetune.method=lora", f"data.replay={frames_file}"])
    assert "has no effect with finetune.method=lora" in found["data.replay"]


@pytest.mark.parametrize("key", ["data.replay", "data.guard"])
def test_without_fine_tuning_these_frames_have_no_effect(tiny_run, frames_file, key):
    found = problems([*tiny_run, f"{key}={frames_file}"])
    assert "add experiment=finetune" in found[key]


@pytest.mark.parametrize("key", ["data.replay", "data.guard"])
def test_files_that_are_not_there_are_named(words, key):
    assert "'nowhere.xyz' does not exist" in problems([*words, f"{key}=nowhere.xyz"])[key]


def test_a_source_of_e0s_is_a_word_or_a_file(words):
    found = problems([*words, "finetune.e0s=estimate"])
    assert "did you mean estimated?" in found["finetune.e0s"]


def test_a_head_is_a_plain_name(words, frames_file):
    found = problems([*words, f"data.replay={frames_file}", "finetune.head='my head'"])
    assert "letters, digits" in found["finetune.head"]


def test_a_parent_must_be_given(frames_file):
    found = problems(["experiment=finetune", f"data.train={frames_file}"])
    assert "init_from" in found


def test_a_zero_committee_is_refused(words):
    assert "finetune.committee" in problems([*words, "finetune.committee=0"])


def test_references_and_keys():
    assert innermost_reference("${recipe.lr}") == "recipe.lr"
    assert innermost_reference("0.5") is None
    config = {"loss": {"stress_weight": 1.0}}
    set_key(config, "loss.stress_weight", 0.0)
    set_key(config, "loss.huber_delta", 3.0)  # which this loss does not have
    assert config == {"loss": {"stress_weight": 0.0}}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["finetune.method=full", "finetune.head=mine"], "finetune.head"),
        (["finetune.method=full", "finetune.trainable=[readouts]"], "finetune.trainable"),
        (["finetune.method=freeze", "finetune.lora_rank=2"], "finetune.lora_rank"),
        (["finetune.replay_labels=parent"], "finetune.replay_labels"),
        (["finetune.keep_parent_head=false"], "finetune.keep_parent_head"),
        (["finetune.trainable=[readouts]"], "finetune.trainable"),
        (
            ["finetune.method=lora", "finetune.recipes.full.lr=0.1"],
            "finetune.recipes.full.lr",
        ),
        (["finetune.recipes.replay.lr=0.1"], "finetune.recipes.replay.lr"),
    ],
)
def test_keys_of_another_method_are_not_ignored_in_silence(words, given, word):
    found = problems([*words, *given])
    assert list(found) == [word]
    assert "has no effect with finetune.method=" in found[word]


def test_keys_of_a_method_that_auto_may_choose_are_allowed(words, frames_file):
    low = compose("train", [*words, "finetune.lora_rank=2"])
    assert low["finetune"]["lora_rank"] == 2
    replayed = [f"data.replay={frames_file}", "finetune.head=mine"]
    assert compose("train", [*words, *replayed])["finetune"]["head"] == "mine"


def test_a_job_of_several_processes_cannot_train_a_committee(words):
    job = ["submit=slurm", "finetune.committee=3"]
    assert "submit.gpus_per_node=1" in problems([*words, *job])["finetune.committee"]
    compose("train", [*words, *job, "submit.nodes=1", "submit.gpus_per_node=1"])


def test_a_run_folder_as_parent_is_answered_with_its_model(words, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"never read here")
    told = problems([*words, f"init_from={tmp_path}"])["init_from"]
    assert f"did you mean init_from={tmp_path}/model.safetensors?" in told
