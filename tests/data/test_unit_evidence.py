"""Neighboring frames give wrong units and signs away; right ones pass."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from mace_train.data.frame import Frame
from mace_train.data.unit_evidence import MAX_RECORDS, UnitEvidence


def crystal_frames(num_frames, *, strain, rattle=0.05):
    """Copper in effective-medium theory: energy, forces and stress fit together."""
    generator = np.random.default_rng(1)
    for index in range(num_frames):
        atoms = bulk("Cu", cubic=True)
        deformation = np.eye(3) + strain * generator.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.positions += rattle * generator.normal(size=(4, 3))
        atoms.calc = EMT()
        yield Frame(
            atomic_numbers=atoms.numbers.astype(np.int64),
            positions=atoms.positions,
            cell=atoms.cell.array,
            pbc=np.ones(3, bool),
            energy=float(atoms.get_potential_energy()),
            forces=atoms.get_forces(),
            stress=atoms.get_stress(voigt=False),
            index=index,
        )


STRAINED = list(crystal_frames(40, strain=0.02, rattle=0.02))
MOVED = list(crystal_frames(40, strain=0.0, rattle=0.1))


def verdict(frames, *, units_are_default=True, max_force=None):
    evidence = UnitEvidence()
    for frame in frames:
        evidence.add(frame)
    told = evidence.verdicts(units_are_default=units_are_default, max_force=max_force)
    return " | ".join(told)


def scaled(frames, **factors):
    return [
        replace(frame, **{name: getattr(frame, name) * f for name, f in factors.items()})
        for frame in frames
    ]


@pytest.mark.parametrize("frames", [STRAINED, MOVED])
def test_right_units_pass(frames):
    assert verdict(frames) == ""


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (-1, r"opposite sign \(positive in compression\).*multiply the stress .* by -1"),
        (-10 / units.GPa, r"in kBar with VASP's sign.*by -0\.000624151"),
        (10 / units.GPa, r"the stress is in kBar\).*by 0\.000624151"),
        (1 / units.GPa, r"the stress is in GPa\).*by 0\.00624151"),
        (-1 / units.GPa, r"in GPa, positive in compression.*by -0\.00624151"),
    ],
)
def test_a_stress_in_other_units_or_of_other_sign_is_named(factor, message):
    text = verdict(scaled(STRAINED, stress=factor))

    assert "the stress does not fit the energies" in text
    with pytest.raises(ValueError, match=message):
        raise ValueError(text)


def test_single_frames_betray_a_stress_in_kbar_by_its_size():
    others = [replace(frame, source=str(i)) for i, frame in enumerate(STRAINED)]

    text = verdict(scaled(others, stress=-10 / units.GPa))

    assert "too large to be in eV/Å^3" in text
    assert "-0.000624151" in text


def test_gradients_in_place_of_forces_are_named():
    assert "opposite sign, as gradients have" in verdict(scaled(MOVED, forces=-1.0))


def test_energies_and_forces_of_different_units_are_named():
    text = verdict(scaled(MOVED, energy=23.06))

    assert "the forces do not fit the energies" in text
    assert "different units" in text


def molecular_dynamics(num_frames):
    """Consecutive frames of copper at 600 K, 5 fs apart, as a user labels them."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = EMT()
    thermal = np.sqrt(units.kB * 1200 * atoms.get_masses())[:, None]
    atoms.set_momenta(thermal * np.random.default_rng(0).normal(size=(32, 3)))
    dynamics = VelocityVerlet(atoms, timestep=5 * units.fs)
    for index in range(num_frames):
        dynamics.run(1)
        yield Frame(
            atomic_numbers=atoms.numbers.astype(np.int64),
            positions=atoms.get_positions(),
            cell=atoms.cell.array,
            pbc=np.ones(3, bool),
            energy=float(atoms.get_potential_energy()),
            forces=atoms.get_forces(),
            groups={"structure_id": str(index)},
            index=index,
        )


SIMULATED = list(molecular_dynamics(20))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"energy": 23.0605}, r"energies in kcal/mol are beside forces in eV/Å"),
        ({"energy": 1 / 27.2114}, r"energies in hartree are beside forces in eV/Å"),
        (
            {"energy": 1 / 27.2114, "forces": 1 / 51.422},
            "energies in hartree are beside forces in hartree/bohr",
        ),
        ({"forces": 1 / 51.422}, "energies in eV are beside forces in hartree/bohr"),
    ],
)
def test_the_units_that_explain_a_mismatch_are_named(factors, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(verdict(scaled(SIMULATED, **factors)))


def test_twenty_frames_of_a_simulation_are_enough_to_see_sign_and_unit():
    assert verdict(SIMULATED) == ""
    assert "opposite sign, as gradients have: multiply them by -1" in verdict(
        scaled(SIMULATED, forces=-1.0)
    )
    assert "(as energies in hartree are beside forces in eV/Å)" in verdict(
        scaled(SIMULATED, energy=1 / 27.211386)
    )


def test_frames_of_different_materials_are_not_compared():
    frames = scaled(MOVED, forces=-1.0)
    named = [replace(f, groups={"mp_id": str(f.index)}) for f in frames]
    runs = [replace(f, groups={"run_id": str(f.index)}) for f in frames]

    assert verdict(named) == ""
    assert "opposite sign" in verdict(runs)


def test_units_that_are_wrong_together_show_in_the_size_of_forces():
    kcal = scaled(MOVED, energy=100.0, forces=100.0)

    assert "forces are too large to be in eV/Å" in verdict(kcal)
    assert "data.max_force" in verdict(kcal)
    assert verdict(kcal, max_force=500.0) == ""


def test_few_frames_say_nothing():
    assert verdict(scaled(STRAINED[:8], stress=-1.0)) == ""


def test_frames_far_apart_are_not_compared():
    far = [replace(f, positions=f.positions + (f.index % 2) * SWAP) for f in STRAINED]

    assert verdict(scaled(far, forces=-1.0)) == ""


SWAP = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_a_shift_of_the_whole_crystal_does_not_matter():
    shifted = [replace(f, positions=f.positions + 0.7 * f.index) for f in STRAINED]

    assert verdict(shifted) == ""
    assert "opposite sign" in verdict(scaled(shifted, stress=-1.0))


def molecules(energy_factor, count=20):
    """Carbon monoxide and water with energies of all electrons."""
    for index in range(count):
        numbers, hartree = [((6, 8), -113.31), ((8, 1, 1), -76.44)][index % 2]
        yield Frame(
            atomic_numbers=np.array(numbers),
            positions=np.arange(3.0 * len(numbers)).reshape(-1, 3),
            cell=np.zeros((3, 3)),
            pbc=np.zeros(3, bool),
            energy=hartree * energy_factor,
        )


def test_energies_of_all_electrons_in_hartree_or_rydberg_are_named():
    only_mixed = [f for f in molecules(1.0, count=40) if f.num_atoms == 2]

    assert "data.units.energy=hartree" in verdict(only_mixed)
    assert "data.units.energy=rydberg" in verdict(scaled(only_mixed, energy=2.0))
    assert verdict(scaled(only_mixed, energy=27.2114)) == ""


def test_energies_whose_unit_was_given_are_not_doubted():
    only_mixed = [f for f in molecules(1.0, count=40) if f.num_atoms == 2]

    assert verdict(only_mixed, units_are_default=False) == ""


def test_parts_together_say_what_the_whole_says():
    wrong = scaled(STRAINED, stress=-1.0)
    first, second = UnitEvidence(), UnitEvidence()
    for frame in wrong[:9]:
        first.add(frame)
    for frame in wrong[9:18]:
        second.add(frame)
    options = {"units_are_default": True, "max_force": None}
    assert first.verdicts(**options) == second.verdicts(**options) == []

    first.merge(UnitEvidence(**second.to_dict()))

    assert "opposite sign" in first.verdicts(**options)[0]


def test_evidence_stays_small():
    evidence = UnitEvidence()
    for _ in range(3 * MAX_RECORDS // len(STRAINED)):
        for frame in STRAINED:
            evidence.add(frame)

    assert max(len(values) for values in evidence.to_dict().values()) <= 5 * MAX_RECORDS
    assert len(evidence.forces) == MAX_RECORDS
