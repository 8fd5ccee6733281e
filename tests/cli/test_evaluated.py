import sys
from pathlib import Path

import pytest

from mace_train.checkpoints.model_file import save_model
from mace_train.cli import evaluated as module
from mace_train.cli.config import compose
from mace_train.cli.evaluated import model_paths, open_calculator, open_models
from mace_train.cli.problems import ConfigError
from mace_train.training.prediction_parts import PartFolder

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import make_frame, small_model, write_frames

LENNARD_JONES = "calculator._target_=ase.calculators.lj.LennardJones"


@pytest.fixture
def asked(tmp_path):
    """Composes a config with a model, frames, a cache and further overrides."""
    save_model(tmp_path / "a.safetensors", small_model(), metadata={})
    test = write_frames(tmp_path / "x.xyz", [make_frame(i) for i in range(3)])

    def compose_with(*overrides):
        always = [f"data.test={test}", f"data.cache_dir={tmp_path / 'cache'}"]
        if not any("_target_" in word or "checkpoint" in word for word in overrides):
            always.append(f"checkpoint={tmp_path / 'a.safetensors'}")
        return compose("evaluate", [*always, *overrides])

    return compose_with


@pytest.fixture
def parts(tmp_path):
    return PartFolder(tmp_path / "parts")


def test_a_checkpoint_is_a_file_a_glob_or_a_list(tmp_path):
    for name in ("b.model", "a.model", "c.ckpt"):
        (tmp_path / name).touch()
    assert model_paths("any/where.model") == [Path("any/where.model")]
    found = model_paths(f"{tmp_path}/*.model")
    assert [path.name for path in found] == ["a.model", "b.model"]
    listed = model_paths([f"{tmp_path}/c.ckpt", f"{tmp_path}/*.model"])
    assert [path.name for path in listed] == ["c.ckpt", "a.model", "b.model"]


def test_the_same_command_goes_on_and_keeps_its_batches(asked, parts):
    first = open_models(asked(), parts)
    assert first.potential.max_edges == parts.notes["max_edges"]
    parts.note(max_edges=77)
    assert open_models(asked(), parts).potential.max_edges == 77
    assert open_models(asked("data.max_edges=123"), parts).potential.max_edges == 123


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["dtype=float32"], "dtype was 'float64' and is now 'float32'"),
        (["node_energies=true"], "node_energies was False and is now True"),
        (["data.units.length=bohr"], "data.units.length was 'angstrom'"),
    ],
)
def test_other_settings_are_refused(asked, parts, changed, message):
    open_models(asked(), parts)
    with pytest.raises(ValueError, match=message):
        open_models(asked(*changed), parts)


def test_another_model_of_the_same_name_is_refused(asked, parts, tmp_path):
    open_models(asked(), parts)
    save_model(tmp_path / "a.safetensors", small_model(seed=1), metadata={})
    with pytest.raises(ValueError, match=r"checkpoint was \['a\.safetensors \("):
        open_models(asked(), parts)


def test_other_frames_are_refused(asked, parts, tmp_path):
    open_models(asked(), parts)
    write_frames(tmp_path / "x.xyz", [make_frame(i) for i in range(1, 4)])
    with pytest.raises(ValueError, match=r"files of data\.test was"):
        open_models(asked(), parts)


def test_what_changes_no_prediction_may_change(asked, parts):
    open_models(asked(), parts)
    for words in (
        ["figures=false"],
        ["predictions=none"],
        ["data.energy_key=none"],
        ["bad_frames=leave_out"],
    ):
        open_models(asked(*words, "data.batch_size=2", "workers=3"), parts)


def test_another_calculator_is_refused(asked, parts):
    open_calculator(asked(LENNARD_JONES, "calculator.sigma=2.2"), parts)
    with pytest.raises(ValueError, match="calculator was"):
        open_calculator(asked(LENNARD_JONES, "calculator.sigma=2.3"), parts)


def test_a_calculator_and_a_gpu_have_one_process(asked, parts):
    assert open_calculator(asked(LENNARD_JONES), parts).workers == 1
    with pytest.raises(ConfigError, match="workers: 4: a calculator is used by one"):
        open_calculator(asked(LENNARD_JONES, "workers=4"), parts)


@pytest.mark.parametrize(
    ("threads", "workers"), [("1", 8), ("4", 2), ("16", 1), ("2,1", 4), ("", 8)]
)
def test_there_are_as_many_processes_as_cores_for_their_threads(
    asked, parts, monkeypatch, threads, workers
):
    monkeypatch.setattr(module, "num_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert open_models(asked(), parts).workers == workers
    assert open_models(asked("workers=3"), parts).workers == 3


def test_a_committee_says_how_far_its_members_differ(asked, parts, tmp_path):
    save_model(tmp_path / "b.safetensors", small_model(seed=1), metadata={})
    opened = open_models(asked(f"checkpoint={tmp_path}/*.safetensors"), parts)
    assert len(opened.potential.models) == 2
    assert "energy_std" in opened.extras


def test_a_committee_whose_members_do_not_fit_is_refused(asked, parts, tmp_path):
    save_model(tmp_path / "b.safetensors", small_model((3, 8, 26)), metadata={})
    with pytest.raises(ValueError, match=r"cannot be in one committee.*elements differ"):
        open_models(asked(f"checkpoint={tmp_path}/*.safetensors"), parts)
