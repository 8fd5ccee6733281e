"""Every config composes, says what it is for, and builds what it names."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from mace_train.cli.config import compose
from mace_train.cli.construction import construct

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
GROUPS = (
    "data", "model", "loss", "optim", "schedule", "trainer", "logger", "callbacks",
    "submit",
)  # fmt: skip
NEEDED = {
    ("data", "extxyz"): ["data.train=sample"],
    ("data", "mptrj"): ["data.train=sample"],
    ("logger", "wandb"): ["logger.mode=offline"],
    ("experiment", "mace_mp_0"): ["data.train=sample"],
    ("experiment", "finetune"): ["data.train=sample", f"init_from={__file__}"],
    ("experiment", "overfit_tiny"): [],
    ("experiment", "example_silicon"): ["data.train=sample"],
    ("experiment", "example_nacl"): ["data.train=sample"],
    ("experiment", "example_ice"): ["data.train=sample"],
    ("experiment", "example_copper"): ["data.train=sample"],
    ("experiment", "example_surfaces"): ["data.train=sample"],
    ("experiment", "example_in2o3"): ["data.train=sample"],
    ("experiment", "example_oxides"): ["data.train=sample"],
    ("experiment", "example_mofs"): ["data.train=sample"],
    ("experiment", "example_acac"): ["data.train=sample"],
    ("experiment", "example_organic"): ["data.train=sample"],
    ("experiment", "example_water"): ["data.train=sample", f"init_from={__file__}"],
}
PARAMETERS = {
    "mace_mp_small": 3_847_696,
    "mace_mp_medium": 4_688_656,
    "mace_mp_large": 5_725_072,
    "mace_mp_0b3": 9_063_204,
}


def options(*groups):
    pairs = [
        (group, path.stem) for group in groups for path in (CONFIGS / group).glob("*.yaml")
    ]
    return [pytest.param(*pair, id="=".join(pair)) for pair in sorted(pairs)]


def composed(group, choice):
    return compose("train", [f"{group}={choice}", *NEEDED.get((group, choice), [])])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_config_file_says_what_it_is_for_and_is_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("# ") for line in lines[:2])
    assert len(lines) <= (80 if path.parent == CONFIGS else 40)


@pytest.mark.parametrize(("group", "choice"), options(*GROUPS, "experiment", "recipe"))
def test_every_option_composes(group, choice):
    if group == "recipe":
        group, choice = "model", choice
    config = composed(group, choice)
    assert config["run_dir"].startswith("runs/")


@pytest.mark.parametrize(("group", "choice"), options(*(set(GROUPS) - {"model"})))
def test_every_option_builds_what_it_names(group, choice):
    config = composed(group, choice)[group]
    assert type(construct(config)).__name__ == config["_target_"].split(".")[-1]


@pytest.mark.parametrize(
    "name", ["ema", "stage_two", "early_stopping", "checkpoint", "report"]
)
def test_every_part_of_a_run_builds_what_it_names(name):
    assert construct(compose("train")[name])


@pytest.mark.parametrize("choice", [*PARAMETERS, "mace_tiny"])
def test_a_published_model_has_its_published_number_of_parameters(choice):
    elements = [*range(1, 84), *range(89, 95)]
    model = construct(
        compose("train", [f"model={choice}"])["model"],
        atomic_numbers=elements,
        atomic_energies=[0.0] * 89,
        avg_num_neighbors=62.0,
        scale=0.8,
        shift=0.2,
    )
    assert model.num_parameters == PARAMETERS.get(choice, model.num_parameters)


def test_the_published_recipes_are_complete():
    for name, recipe in {
        "mace_mp_small": (10.0, 1.0, 100.0, 250),
        "mace_mp_medium": (1.0, 1.0, 100.0, 200),
        "mace_mp_large": (1.0, 10.0, 100.0, 200),
        "mace_mp_0b3": (1.0, 10.0, 10.0, 100),
    }.items():
        config = compose("train", [f"model={name}", "data=mptrj", "data.train=sample"])
        loss = config["loss"]
        weights = [loss[f"{term}_weight"] for term in ("energy", "forces", "stress")]
        assert (*weights, config["trainer"]["max_epochs"]) == recipe
        assert config["data"]["batch_size_per_rank"] == 16
        assert config["data"]["elements"] == config["data"]["e0s"] == "mp0"
        assert (config["optim"]["lr"], config["optim"]["clip_norm"]) == (0.005, 100.0)


def test_a_number_stands_in_one_place():
    data = yaml.safe_load((CONFIGS / "data" / "extxyz.yaml").read_text())
    assert data["r_max"] == "${model.r_max}"
    assert data["dtype"] == "${dtype}"
    assert data["seed"] == "${seed}"


@pytest.mark.slow
def test_a_wheel_carries_the_configs_and_works_from_anywhere(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    source = tmp_path / "source"
    skipped = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=skipped)
    build = [*pip, "wheel", "--no-deps", "-w", str(tmp_path), str(source)]
    built = subprocess.run(build, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr[-200:]}")
    (wheel,) = tmp_path.glob("mace_train-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"mace_train/configs/{path.relative_to(CONFIGS).as_posix()}" for path in FILES
    }
    assert expected <= names
    assert not any(name.startswith("configs/") for name in names)
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "import mace_train; assert 'site' in mace_train.__file__, mace_train.__file__\n"
        "from mace_train.cli.config import compose; print(compose('train')['name'])\n"
    )
    isolated = [sys.executable, "-P"] if sys.version_info >= (3, 11) else [sys.executable]
    command = [*isolated, "-c", code, str(site)]
    named = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert named.stdout.strip() == compose("train")["name"], named.stderr
