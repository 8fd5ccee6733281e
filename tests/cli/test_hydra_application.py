import sys

import pytest

from mace_train.cli.hydra_application import check_command_line, in_local_sweep, start
from mace_train.cli.problems import ConfigError


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("my.yaml", "--config-dir DIR experiment=my"),
        ("my.xyz", "data=extxyz data.train=my.xyz"),
        ("train", "is not key=value or group=choice"),
        (
            "--trainer.max_epochs=3",
            "keys are written without dashes: trainer.max_epochs=...",
        ),
        ("--config-dri", "did you mean --config-dir?"),
    ],
)
def test_a_word_that_hydra_could_not_read_is_explained(word, said):
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", [word])
    assert said in str(caught.value)


def test_a_flag_between_keys_is_explained():
    with pytest.raises(ConfigError, match="flags such as -m stand before all keys"):
        check_command_line("train", ["seed=1", "-m", "optim.lr=0.1,0.2"])


def test_our_configs_cannot_be_replaced_as_a_whole():
    with pytest.raises(ConfigError, match="--config-dir DIR adds yours"):
        check_command_line("train", ["--config-path", "elsewhere"])


def test_every_run_of_a_sweep_is_checked_before_the_first():
    check_command_line("train", ["-m", "optim.lr=0.1,0.2"])
    with pytest.raises(ConfigError, match=r"model.max_ell: 7 is not allowed"):
        check_command_line("train", ["-m", "model.max_ell=1,7"])


@pytest.mark.parametrize(
    "words", [["--cfg", "job", "modle=x"], ["--info", "config", "modle=x"]]
)
def test_a_misspelt_key_is_an_error_even_if_only_shown(words):
    with pytest.raises(ConfigError, match="modle"):
        check_command_line("train", words)


@pytest.fixture
def runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def collect(*words):
        seen = []
        monkeypatch.setattr(sys, "argv", ["mace-train", *words])
        start(
            "train",
            lambda command, config, _: seen.append((command, config, in_local_sweep())),
        )
        return seen

    return collect


def test_hydra_calls_with_the_checked_config_and_writes_nothing(runs, tmp_path):
    ((command, config, is_sweep),) = runs("seed=3", "data.batch_size_per_rank=2")
    assert (command, config["seed"], is_sweep) == ("train", 3, False)
    assert config["data"]["batch_size"] is None
    assert config["name"] != "auto"
    assert list(tmp_path.iterdir()) == []


def test_words_that_lightning_adds_for_the_other_ranks_change_nothing(runs):
    ((_, first, _),) = runs("seed=3")
    added = [
        'hydra.run.dir="."',
        "hydra.job.name=train_ddp_process_1",
        "hydra.output_subdir=null",
    ]
    check_command_line("train", ["seed=3", *added])
    ((_, second, _),) = runs("seed=3", *added)
    assert first == second


def test_a_sweep_makes_one_run_for_each_value(runs):
    seen = runs("-m", "seed=1,2")
    assert [config["seed"] for _, config, _ in seen] == [1, 2]
    assert all(is_sweep for _, _, is_sweep in seen)
    assert len({config["run_dir"] for _, config, _ in seen}) == 2


def test_a_user_s_folder_is_known_to_the_run(runs, tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "own.yaml").write_text(
        "defaults: [mace_tiny]\nmax_ell: 1\n"
    )
    ((_, config, _),) = runs("--config-dir", "mine", "model=own")
    assert config["model"]["max_ell"] == 1
    assert config["name"].startswith("own-sample-")


def test_a_calculator_takes_any_argument_without_a_plus(monkeypatch, tmp_path):
    (tmp_path / "x.xyz").touch()
    words = ["calculator._target_=ase.X", "calculator.model=m", "+calculator.size=2"]
    argv = ["mace-evaluate", f"data.test={tmp_path / 'x.xyz'}", *words]
    monkeypatch.setattr(sys, "argv", argv)
    seen = []
    check_command_line("evaluate", argv[1:])
    start("evaluate", lambda command, config, _: seen.append(config["calculator"]))
    assert seen == [{"_target_": "ase.X", "model": "m", "size": 2}]
    assert sys.argv == argv


def test_the_run_is_told_the_words_that_make_it(tmp_path, monkeypatch):
    seen = []
    folder = str(tmp_path)
    argv = ["mace-train", "--config-dir", folder, "seed=3", "optim.lr=0.02"]
    monkeypatch.setattr(sys, "argv", argv)
    start("train", lambda command, config, words: seen.append(words))
    assert seen == [[f"--config-dir={folder}", "seed=3", "optim.lr=0.02"]]
