import pytest
from hydra.core.global_hydra import GlobalHydra

from mace_train.cli.composition import compose_unchecked, expand_sweep
from mace_train.cli.problems import ConfigError


def problems(*overrides, **kwargs):
    return [
        str(problem) for problem in compose_unchecked("train", overrides, **kwargs).problems
    ]


def test_wrong_overrides_are_left_out_and_the_others_applied():
    composition = compose_unchecked("train", ["model=mace_mp_smal", "seed=3", "sead=4"])
    assert composition.config.seed == 3
    assert composition.choices["model"] == "mace_tiny"
    assert composition.overrides == ("seed=3",)
    assert [problem.key for problem in composition.problems] == ["model", "sead"]


def test_a_choice_that_does_not_exist_gets_the_nearest_and_all():
    (text,) = problems("loss=univrsal")
    assert text == (
        "loss: 'univrsal' is not allowed; allowed: energy_forces | energy_forces_stress | "
        "huber | universal; did you mean universal?"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_epoch=3", "did you mean trainer.max_epochs?"),
        ("batch_size=4", "did you mean data.batch_size?"),
        ("lr=0.1", "did you mean recipe.lr or stage_two.lr or optim.lr?"),
        ("data=my.xyz", "for a file write data=extxyz data.train=my.xyz"),
        ("model=old.model", "write init_from=old.model"),
        ("optim.lr=1,2", "add -m"),
        ("modle=mace_tiny", "did you mean model?"),
    ],
)
def test_a_frequent_mistake_gets_its_cure(override, said):
    (text,) = problems(override)
    assert said in text


@pytest.mark.parametrize(
    ("command", "override", "said"),
    [
        ("evaluate", "model=my.safetensors", "a trained model is named by checkpoint=PATH"),
        ("evaluate", "data=sample", "name the frames with data.test=FILES"),
        ("prepare", "data=mptrj", "name the files with data.train=FILES"),
        ("prepare", "loss=huber", "mace-prepare has no such group (value huber)"),
    ],
)
def test_a_group_of_another_command_gets_the_key_to_use(command, override, said):
    (problem,) = compose_unchecked(command, [override]).problems
    assert said in str(problem)


def test_a_recipe_comes_with_its_model_and_yields_to_overrides():
    small = compose_unchecked("train", ["model=mace_mp_small"]).config
    assert small.recipe.energy_weight == small.loss.energy_weight == 10.0
    assert small.trainer.max_epochs == 250
    own = compose_unchecked("train", ["model=mace_mp_small", "recipe.lr=0.002"]).config
    assert own.optim.lr == 0.002
    assert compose_unchecked("train", ["model=mace_tiny"]).config.optim.lr == 0.01


def test_a_recipe_yields_to_an_experiment():
    overrides = ["model=mace_mp_small", "experiment=overfit_tiny"]
    assert compose_unchecked("train", overrides).config.recipe.max_epochs == 100


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_user_s_folder_adds_groups(tmp_path, by_flag):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [mace_tiny]\nr_max: 4.5\n")
    search = [] if by_flag else [f"hydra.searchpath=[file://{tmp_path}]"]
    composition = compose_unchecked(
        "train", ["model=mine", *search], config_dir=str(tmp_path) if by_flag else None
    )
    assert composition.problems == ()
    assert composition.config.data.r_max == 4.5


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="--config-dir: 'nowhere' is no folder"):
        compose_unchecked("train", config_dir="nowhere")


def test_config_files_that_do_not_fit_are_one_message(tmp_path):
    (tmp_path / "experiment").mkdir()
    path = tmp_path / "experiment" / "broken.yaml"
    path.write_text("# @package _global_\ndefaults:\n  - override /model: nothing\n")
    with pytest.raises(ConfigError, match="nothing"):
        compose_unchecked("train", ["experiment=broken"], config_dir=str(tmp_path))


def test_a_hydra_application_that_calls_us_is_left_alone():
    before = GlobalHydra.instance().hydra
    compose_unchecked("train")
    assert GlobalHydra.instance().hydra is before


def test_a_sweep_is_every_combination():
    jobs = list(expand_sweep(["seed=range(2)", "optim.lr=0.1,0.2", "name=x"]))
    assert jobs == [
        ["seed=0", "optim.lr=0.1", "name=x"],
        ["seed=0", "optim.lr=0.2", "name=x"],
        ["seed=1", "optim.lr=0.1", "name=x"],
        ["seed=1", "optim.lr=0.2", "name=x"],
    ]
