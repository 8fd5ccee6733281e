"""Scaling of adsorption energies in its reduced form."""

import pytest
from example_runs import EXAMPLES, gates_of, run

from mace_train import MACECalculator
from mace_train.checkpoints.model_file import save_model


@pytest.mark.slow
def test_the_slope_between_two_metals(tmp_path, small_mace, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from structures.surfaces import adsorption_energies

    model = small_mace(atomic_numbers=[1, 8, 29, 78], atomic_energies=[[0.0] * 4])
    save_model(tmp_path / "m.safetensors", model, metadata={})
    words = [
        "--model",
        "m.safetensors",
        "--output",
        "out",
        "--quick",
        "--metals",
        "Cu",
        "Pt",
    ]
    out = run(tmp_path, "adsorption_scaling.py", *words)
    assert out.returncode == 0, out.stderr
    found = {name: row["value"] for name, row in gates_of(tmp_path / "out").items()}
    places = [(metal, kind, "fcc") for metal in ("Cu", "Pt") for kind in ("O", "OH")]
    own = adsorption_energies(MACECalculator(model), places, steps=2)
    copper_o, copper_oh, platinum_o, platinum_oh = own.values()
    slope = (platinum_oh - copper_oh) / (platinum_o - copper_o)
    assert found["slope of OH over O"] == pytest.approx(slope, rel=1e-3)
    assert (tmp_path / "out" / "adsorption_scaling.png").stat().st_size > 10_000


@pytest.mark.slow
def test_one_metal_makes_no_line(tmp_path):
    (tmp_path / "m.safetensors").touch()
    out = run(
        tmp_path,
        "adsorption_scaling.py",
        "--model",
        "m.safetensors",
        "--metals",
        "Cu",
        "--quick",
    )
    assert out.returncode == 1
    assert "a line needs two metals" in out.stderr
    assert "Traceback" not in out.stderr
