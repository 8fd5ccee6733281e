"""The example as a user runs it: from the command line, interrupted, and gone on with."""

import pytest
from ase.build import bulk
from ase.io import write
from example_runs import run

from mace_train.checkpoints.model_file import save_model
from mace_train.simulation.records import read_log


@pytest.fixture
def silicon(tmp_path, small_mace) -> list[str]:
    save_model(tmp_path / "m.safetensors", small_mace(), metadata={})
    (tmp_path / "foo.unknown").write_text("no structure\n")
    write(tmp_path / "si.xyz", bulk("Si", cubic=True), format="extxyz")
    return [
        "--model",
        "m.safetensors",
        "--structure",
        "si.xyz",
        "--repeat",
        "1",
        "--timestep",
        "1",
    ]


@pytest.mark.slow
def test_the_example_runs_goes_on_and_draws_its_figure(tmp_path, silicon):
    out = run(
        tmp_path,
        "molecular_dynamics.py",
        *silicon,
        "--folder",
        "md",
        "--stages",
        "300:0.02",
    )
    assert out.returncode == 0, out.stderr
    assert "finished after 20 steps" in out.stderr
    assert read_log(tmp_path / "md")["step"].tolist() == [0, 10, 20]

    stages = ["--stages", "300:0.02", "300-600:0.1", "nve:0.03"]
    out = run(
        tmp_path,
        "molecular_dynamics.py",
        *silicon,
        "--folder",
        "md",
        *stages,
        "--frame-every",
        "50",
    )
    assert out.returncode == 0, out.stderr
    assert "md goes on from step 20 (0.02 ps)" in out.stderr
    assert "finished after 150 steps" in out.stderr
    assert "300-600:0.1 " in out.stderr
    assert "% kept" in out.stderr
    assert read_log(tmp_path / "md")["step"].tolist() == list(range(0, 151, 10))
    assert (tmp_path / "md" / "molecular_dynamics.png").stat().st_size > 10_000


@pytest.mark.slow
def test_what_a_user_gets_wrong_is_one_line(tmp_path, silicon):
    for arguments, message in (
        (["--stages", "300"], "'300' is no stage: write 300:50"),
        (["--structure", "nothing.xyz"], "nothing.xyz"),
        (["--model", "nothing.safetensors"], "nothing.safetensors"),
        (["--structure", "foo.unknown"], "foo.unknown cannot be read"),
        (["--structure", "m.safetensors"], "m.safetensors cannot be read"),
        (["--repeat", "0"], "--repeat 0: give 1 or more"),
        (["--device", "foo"], "device='foo' cannot be used here"),
        (["--min-distance", "3"], "min_distance=3.0: give a share"),
    ):
        out = run(tmp_path, "molecular_dynamics.py", *silicon, *arguments)
        assert out.returncode == 1, arguments
        assert message in out.stderr
        assert "Traceback" not in out.stderr
    out = run(tmp_path, "molecular_dynamics.py")
    assert out.returncode == 2
    assert "`make train` first, or --model" in out.stderr


@pytest.mark.slow
def test_a_tripped_wire_is_one_line_and_an_exit_code(tmp_path, silicon):
    arguments = ["--stages", "300:1", "--timestep", "100", "--repeat", "2"]
    out = run(tmp_path, "molecular_dynamics.py", *silicon, *arguments)
    assert out.returncode == 1
    assert "error: step" in out.stderr
    assert "last_frames.extxyz" in out.stderr
    assert "Traceback" not in out.stderr
    assert (tmp_path / "runs" / "molecular_dynamics" / "last_frames.extxyz").is_file()
