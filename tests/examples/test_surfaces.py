"""Slabs and adsorbates: where atoms are, what energies cancel."""

from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT


@pytest.fixture
def surfaces(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    from structures import surfaces

    return surfaces


class Alone(Calculator):
    """Atoms that do not see each other; each element has its energy."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own declaration

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        super().calculate(atoms, properties, system_changes)
        energy = float(np.sqrt(self.atoms.numbers).sum())
        self.results = {"energy": energy, "forces": np.zeros((len(self.atoms), 3))}


def test_references_hold_the_atoms_of_their_adsorbates(surfaces):
    places = [
        (metal, *kind) for metal in ("Cu", "Pt") for kind in (("O", "fcc"), ("OH", "fcc"))
    ]
    found = surfaces.adsorption_energies(Alone(), places)
    assert list(found) == places
    assert list(found.values()) == pytest.approx([0.0] * len(places), abs=1e-9)


@pytest.mark.parametrize(("site", "nearest"), [("fcc", 3), ("top", 1)])
def test_an_adsorbate_has_the_neighbors_of_its_site(surfaces, site, nearest):
    slab = surfaces.clean("Cu")
    assert (len(slab), slab.pbc.all()) == (12, True)
    atoms = surfaces.covered(slab, "CO", site)
    assert str(atoms.symbols[12:]) == "CO"
    distances = atoms.get_distances(12, range(12), mic=True)
    assert (distances < distances.min() + 0.1).sum() == nearest
    assert 1.8 < distances.min() < 2.1
    assert len(slab.constraints) == 1  # that of the clean slab stays as it was


def test_a_relaxation_moves_the_top_layer_and_the_adsorbate_along_its_normal(surfaces):
    before = surfaces.covered(surfaces.clean("Cu"), "O", "fcc")
    way = []
    after = surfaces.relaxed(before, EMT(), way=way)
    moved = after.positions - before.positions
    assert np.abs(moved[before.get_tags() > 1]).max() == 0.0
    assert moved[12, :2] == pytest.approx([0.0, 0.0])
    assert abs(moved[12, 2]) > 0.01
    way[0].calc = EMT()
    assert after.get_potential_energy() < way[0].get_potential_energy()
    free = after.get_forces()[(before.get_tags() == 1)]
    assert np.linalg.norm(free, axis=1).max() < 0.03
