import sys
from pathlib import Path

import pytest
from ase.build import bulk, fcc111, molecule

from mace_train.physics.invariances import (
    check_permutation,
    check_reflection,
    check_rotation,
    check_translation,
    check_wrapping,
    rotation_error,
)
from mace_train.physics.potential import LeftOutError
from mace_train.physics.structures import distorted

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import (
    Chiral,
    Good,
    NotANumber,
    Oblique,
    OnlyTotal,
    Ordered,
    Placed,
    Unwrapped,
    passes,
    potential_of,
    setting_of,
)

BREAKS = {
    check_rotation: Oblique,
    check_reflection: Chiral,
    check_translation: Placed,
    check_permutation: Ordered,
    check_wrapping: Unwrapped,
}
SLAB = fcc111("Cu", (2, 2, 2), vacuum=6.0, periodic=False)


@pytest.mark.parametrize("check", BREAKS, ids=lambda check: check.__name__)
def test_a_potential_that_obeys_passes_on_crystals_slabs_and_molecules(check):
    SLAB.pbc = [True, True, False]
    assert passes(check, Good(), (bulk("Cu"), SLAB, molecule("H2O")))
    assert passes(check, OnlyTotal())


@pytest.mark.parametrize("check", BREAKS, ids=lambda check: check.__name__)
def test_a_broken_potential_fails_and_one_that_is_nan_too(check):
    assert not passes(check, BREAKS[check]())
    assert not passes(check, NotANumber())


def test_a_chiral_potential_is_found_by_the_reflection_alone():
    assert passes(check_rotation, Chiral())


def test_the_worst_structure_is_named_and_the_stress_is_measured_where_there_is_one():
    findings = check_rotation(setting_of(Oblique(), (molecule("H2O"), bulk("Cu"))))
    names = [measured.quantity for measured in findings.measurements]
    assert names == ["energy", "forces", "stress"]
    assert [m.where for m in findings.measurements][1:] == ["H2O", "Cu4"]
    findings = check_rotation(setting_of(Good(), (molecule("H2O"),)))
    assert len(findings.measurements) == 2


def test_what_does_not_apply_is_left_out_with_a_reason():
    with pytest.raises(LeftOutError, match="more than one atom"):
        check_permutation(setting_of(Good(), (molecule("H"),)))
    with pytest.raises(LeftOutError, match="periodic direction"):
        check_wrapping(setting_of(Good(), (molecule("H2O"),)))


def test_the_single_number_is_the_error_of_the_forces():
    atoms = distorted(bulk("Cu"))
    assert rotation_error(potential_of(Good()), atoms) < 1e-12
    assert rotation_error(potential_of(Oblique()), atoms) > 1e-4
