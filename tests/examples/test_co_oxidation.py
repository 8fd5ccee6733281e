"""CO oxidation on copper in its reduced form."""

import pytest
from example_runs import EXAMPLES, gates_of, run

from mace_train import MACECalculator
from mace_train.checkpoints.model_file import save_model


@pytest.mark.slow
def test_a_band_between_the_model_s_own_ends(tmp_path, small_mace, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from structures.copper import band, reaction_ends
    from structures.surfaces import adsorption_energies, relaxed

    model = small_mace(atomic_numbers=[6, 8, 29], atomic_energies=[[0.0] * 3])
    save_model(tmp_path / "m.safetensors", model, metadata={})
    words = ["--model", "m.safetensors", "--output", "out", "--quick"]
    out = run(tmp_path, "co_oxidation.py", *words)
    assert out.returncode == 0, out.stderr
    found = {name: row["value"] for name, row in gates_of(tmp_path / "out").items()}
    assert found["steps of the band"] == 2
    calculator = MACECalculator(model)
    place = ("Cu", "CO", "top")
    gas = {"CO": {"CO": 1.0}}
    own = adsorption_energies(calculator, [place], steps=2, references=gas)[place]
    assert found["CO top (eV)"] == pytest.approx(own, abs=1e-5)
    ends = [relaxed(atoms, calculator, steps=2) for atoms in reaction_ends()]
    images = band(*ends, calculator, num_images=3).images
    energies = [image.get_potential_energy() for image in images]
    # Two steps lower the highest image of the first guess, or leave an end the highest.
    highest = max(energies) - energies[0]
    assert (
        max(0, energies[-1] - energies[0]) - 1e-5 <= found["barrier (eV)"] <= highest + 1e-5
    )
    assert (tmp_path / "out" / "co_oxidation.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_model_that_is_not_there_is_one_line(tmp_path):
    out = run(tmp_path, "co_oxidation.py", "--model", "none.safetensors", "--quick")
    assert out.returncode == 1
    assert "none.safetensors not found" in out.stderr
    assert "Traceback" not in out.stderr
