import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from ase.build import bulk
from ase.io import write

from mace_train.checkpoints.model_file import save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.cli import folder_lock
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_check import ChecksFailedError, run
from mace_train.graph import AtomicGraph
from mace_train.physics.suite import CheckName

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import R_MAX, make_frame, small_model

EMT = ("calculator._target_=ase.calculators.emt.EMT", "elements=[Cu,Au]", "dtype=float64")
LAWS = "checks=[rotation,forces,stress,supercell,locality,cutoff,probes]"


@pytest.fixture
def model_file(tmp_path):
    return saved(tmp_path, "model.safetensors")


def saved(tmp_path, name, *, wrong_by=0.0):
    """A model of random weights, whose probe frames say energies wrong by so much."""
    model = small_model()
    graph = AtomicGraph.from_atoms(make_frame(0), elements=model.elements, r_max=R_MAX)
    probes = make_probes(model, [graph])
    probes = replace(probes, energy=probes.energy + wrong_by)
    save_model(tmp_path / name, model, metadata={}, probes=probes)
    return tmp_path / name


def check(tmp_path, *overrides):
    return run(compose("check", [f"output={tmp_path / 'out'}", *overrides]))


def test_a_calculator_that_obeys_passes_and_everything_is_written(tmp_path):
    results = check(tmp_path, *EMT, "r_max=7.0", "num_interactions=2", "nve_steps=100")
    assert list(results) == list(get_args(CheckName))
    states = {name: result["state"] for name, result in results.items()}
    assert states.pop("probes") == "left out"
    assert set(states.values()) == {"ok"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "checks.json",
        "checks.png",
        "log.txt",
        ".lock",
    }
    written = json.loads((tmp_path / "out/checks.json").read_text())
    assert written["checks"] == results
    assert written["config"]["calculator"]["_target_"].endswith("EMT")
    assert "ok" in (tmp_path / "out/log.txt").read_text()


def test_a_model_file_obeys_the_laws_and_gives_what_it_says(tmp_path, model_file):
    results = check(tmp_path, f"checkpoint={model_file}", LAWS, "figures=false")
    assert {result["state"] for result in results.values()} == {"ok"}
    assert not (tmp_path / "out/checks.png").exists()


def test_a_check_that_fails_ends_with_its_name_and_advice_after_writing(
    tmp_path, model_file
):
    with pytest.raises(ChecksFailedError, match="1 of 1 checks failed") as error:
        check(tmp_path, f"checkpoint={model_file}", "checks=dimers")
    assert "dimers: holes 2 pairs (of 3 pairs; the lowest wall:" in str(error.value)
    assert "model.pair_repulsion=true (ZBL)" in str(error.value)
    written = json.loads((tmp_path / "out/checks.json").read_text())
    assert written["checks"]["dimers"]["state"] == "FAILED"
    assert error.value.outcomes[0].check == "dimers"


def test_probe_frames_that_this_machine_predicts_otherwise_fail(tmp_path):
    path = saved(tmp_path, "moved.safetensors", wrong_by=1e-3)
    with pytest.raises(
        ChecksFailedError, match=r"probes: energy 0\.00025 eV/atom"
    ) as error:
        check(tmp_path, f"checkpoint={path}", "checks=probes")
    assert "this machine gives other numbers" in str(error.value)


def test_probe_frames_are_held_to_the_limits_of_the_file_s_dtype(tmp_path):
    """Here float64, though float32 is asked for and would let it pass."""
    path = saved(tmp_path, "moved.safetensors", wrong_by=1e-6)
    with pytest.raises(ChecksFailedError):
        check(tmp_path, f"checkpoint={path}", "checks=probes", "dtype=float32")


def test_limits_can_be_given(tmp_path, model_file):
    asked = (f"checkpoint={model_file}", "checks=[dimers]", "figures=false")
    wide = ("limits.dimer_holes=3", "limits.force_flips=99", "limits.tortuosity=9999")
    assert check(tmp_path, *asked, *wide)["dimers"]["state"] == "ok"


def test_checks_can_be_skipped(tmp_path):
    results = check(tmp_path, *EMT, "checks=[rotation,forces]", "skip=rotation")
    assert list(results) == ["forces"]
    with pytest.raises(
        ConfigError, match="checks: rotation without skip=rotation leaves none"
    ):
        compose("check", [*EMT, "checks=rotation", "skip=rotation"])


def test_checks_that_need_a_cutoff_are_left_out_with_a_reason(tmp_path):
    results = check(tmp_path, *EMT, "checks=[far_pieces,locality,cutoff]")
    assert {result["state"] for result in results.values()} == {"left out"}
    assert "give r_max=6.0" in results["cutoff"]["reason"]
    assert "r_max" in (tmp_path / "out/log.txt").read_text()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "neither it nor a calculator is given"),
        (["checkpoint=no.file"], "checkpoint: 'no.file' is no file"),
        ([*EMT, "structure=no.file"], "structure: 'no.file' is no file"),
        ([*EMT, "elements=[Xx]"], r"elements: \['Xx'\] are no elements"),
        ([*EMT, "elements=Si"], "elements: 'Si' is not allowed"),
        ([*EMT, "checks=[dimer]"], r"checks: \['dimer'\] is not allowed"),
        ([*EMT, "nve_steps=19"], "nve_steps: 19 is not allowed; allowed: .*>= 20"),
        ([*EMT, "limits.drift=1"], "limits.drift: unknown key"),
        ([*EMT, "limits.energy=-1"], "limits.energy: -1 is not allowed"),
        ([*EMT, "model=mace_tiny"], "trained model is named by checkpoint=PATH"),
        ([f"checkpoint={__file__}", "r_max=5"], "r_max: 5.0 is for a calculator"),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_loaded(overrides, said):
    with pytest.raises(ConfigError, match=said):
        compose("check", overrides)


def test_a_pattern_of_models_is_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(ConfigError, match="mace-check takes one model; committees are not"):
        compose("check", [f"checkpoint={tmp_path}/*.safetensors"])


def test_two_processes_do_not_check_into_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "SECONDS_OF_PATIENCE", 0)
    (tmp_path / "out").mkdir()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); "
        "fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "out/.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=r"another process .* with output="):
            check(tmp_path, *EMT, "checks=rotation", "figures=false")
        other.stdin.close()


def test_the_folder_is_named_after_the_model_or_the_calculator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "cu.xyz", bulk("Cu"))
    config = compose("check", [*EMT[::2], "structure=cu.xyz", "checks=rotation"])
    run(config)
    assert (tmp_path / "runs/check-EMT/checks.json").is_file()
