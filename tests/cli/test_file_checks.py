import pytest

from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError


def problem(*overrides, command="train"):
    with pytest.raises(ConfigError) as caught:
        compose(command, overrides)
    (only,) = caught.value.problems
    return str(only)


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("data.train=nowhere.xyz", "data.train", "does not exist"),
        ("data.split_file=nowhere.json", "data.split_file", "is no file"),
        ("init_from=nowhere.model", "init_from", "is no file"),
        ("resume=atuo", "resume", "did you mean auto?"),
        ("data.e0s=least_square", "data.e0s", "did you mean least_squares?"),
    ],
)
def test_what_is_not_there_is_named(override, key, said):
    text = problem(override)
    assert text.startswith(f"{key}: ")
    assert said in text


def test_absent_mptrj_says_what_is_expected_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = problem("model=mace_mp_medium", "data=mptrj")
    for said in ("1,580,395 frames", "6 GB", "2 GB", "data/mptrj", "data/README.md"):
        assert said in text


def test_a_misspelt_file_is_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "silicon.xyz").touch()
    assert "did you mean silicon.xyz?" in problem("data=extxyz", "data.train=silicn.xyz")


@pytest.mark.parametrize(
    "spec", ["a.xyz", "*.xyz", "sub/**/*.xyz", "[a.xyz,sub]", "sample"]
)
def test_files_folders_globs_and_lists_are_found(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.xyz").touch()
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "b.xyz").touch()
    compose("train", ["data=extxyz", f"data.train={spec}"])


def test_an_absolute_glob_is_found(tmp_path):
    (tmp_path / "a.xyz").touch()
    compose("train", ["data=extxyz", f"data.train={tmp_path}/*.xyz"])
    assert "does not exist" in problem("data=extxyz", f"data.train={tmp_path}/*.extxyz")


def test_e0s_may_be_a_file(tmp_path):
    path = tmp_path / "e0s.json"
    path.write_text("{}")
    assert compose("train", [f"data.e0s={path}"])["data"]["e0s"] == str(path)


def test_online_logging_needs_an_account(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    assert "logger.mode=offline" in problem("logger=wandb")
    compose("train", ["logger=wandb", "logger.mode=offline"])
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    compose("train", ["logger=wandb"])


def test_a_model_to_export_is_a_file_or_the_folder_of_a_run_that_has_ended(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)

    def said(checkpoint):
        words = (f"checkpoint={checkpoint}", "format=mace_torch")
        return problem(*words, command="export")

    (tmp_path / "small.model").touch()
    assert "'smol.model' is no file; did you mean small.model?" in said("smol.model")
    assert said("run") == "checkpoint: the folder 'run' has no model.safetensors"
    (run / "checkpoints" / "last.ckpt").touch()
    assert "has not ended, but has checkpoint=run/checkpoints/last.ckpt" in said("run")
    (run / "model.safetensors").touch()
    for checkpoint in ("run", "small.model"):
        compose("export", [f"checkpoint={checkpoint}", "format=mace_torch"])
