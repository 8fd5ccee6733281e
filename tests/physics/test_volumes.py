import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.eos import calculate_eos
from ase.units import GPa

from mace_train.physics.potential import LeftOutError, Potential
from mace_train.physics.volumes import check_volumes, energies_by_volume

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Good, NotANumber, TwoPhases, Wavy, passes, setting_of


def test_a_smooth_curve_with_one_minimum_passes():
    assert passes(check_volumes, Good())


@pytest.mark.parametrize(
    ("broken", "quantity"),
    [(TwoPhases, "minima too many"), (Wavy, "roughness"), (NotANumber, "minima missing")],
)
def test_a_broken_curve_fails(broken, quantity):
    findings = check_volumes(setting_of(broken(), (bulk("Cu"),)))
    assert [m.quantity for m in findings.measurements if not m.is_right] == [quantity]


def test_a_crystal_far_from_its_volume_has_no_minimum_and_a_built_one_is_left_out():
    stretched = bulk("Cu", a=5.5)
    assert not passes(check_volumes, Good(), (stretched,))
    with pytest.raises(LeftOutError, match=r"Cu was built.*structure=FILE"):
        check_volumes(setting_of(Good(), (stretched,), are_built=True))


def test_volume_and_bulk_modulus_are_those_of_ase():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    volume, _, modulus = calculate_eos(atoms, npoints=11, eps=0.02).fit(warn=False)
    findings = check_volumes(setting_of(EMT(), (bulk("Cu"),)))
    found = {m.quantity: m.value for m in findings.measurements}
    assert found["volume"] == pytest.approx(volume, rel=1e-3)
    assert found["bulk modulus"] == pytest.approx(modulus / GPa, rel=0.01)
    assert "Birch-Murnaghan" in findings.notes[0]


def test_energies_and_volumes_are_per_atom():
    volumes, energies = energies_by_volume(
        Potential(EMT()), bulk("Cu", cubic=True), np.array([1.0, 1.1])
    )
    assert volumes == pytest.approx([3.61**3 / 4, 1.1**3 * 3.61**3 / 4])
    assert energies[0] == pytest.approx(-0.0057, abs=1e-3)


def test_a_molecule_is_left_out():
    with pytest.raises(LeftOutError, match="three directions"):
        check_volumes(setting_of(Good(), (molecule("H2O"),)))
