import sys
from pathlib import Path

import pytest

from mace_train.physics.cutoff import check_cutoff, cutoff_jumps
from mace_train.physics.potential import LeftOutError

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import (
    AU,
    CU,
    R_MAX,
    Cut,
    Good,
    Kinked,
    passes,
    potential_of,
    setting_of,
)


def test_a_smooth_cutoff_passes():
    assert passes(check_cutoff, Good())


def test_a_sphere_without_envelope_fails_in_everything():
    findings = check_cutoff(setting_of(Cut()))
    assert not any(measured.is_right for measured in findings.measurements)
    energy, slope = Cut().pair(R_MAX - 1e-12, 0.95 * 2 * 1.36)
    ((jump, force_jump, _),) = cutoff_jumps(potential_of(Cut()), [(AU, AU)])
    assert jump == pytest.approx(abs(energy), rel=1e-6)
    assert force_jump == pytest.approx(abs(slope), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_kink_of_the_force_is_found_though_the_force_is_continuous(dtype):
    energy, force, slope = cutoff_jumps(potential_of(Kinked(), dtype=dtype), [(CU, CU)])[0]
    wave = Kinked.decay * (R_MAX - 0.95 * 2 * 1.32)
    expected = 2 * Kinked.depth * 2 * 2.718281828459045**-wave / R_MAX**2
    assert slope == pytest.approx(expected, rel=0.02)
    assert max(energy, force) < 1e-6
    assert not passes(check_cutoff, Kinked())


def test_the_scan_around_the_cutoff_is_drawn_for_at_most_six_pairs():
    pairs = tuple((number, number) for number in range(20, 31))
    findings = check_cutoff(setting_of(Good(), pairs=pairs))
    assert len(findings.curves) == 6
    x = findings.curves[0].x
    assert (x[0], x[-1]) == pytest.approx((R_MAX - 0.1, R_MAX + 0.1))


def test_silence_inside_a_cutoff_that_is_too_long_is_noted():
    (note,) = check_cutoff(setting_of(Good(), r_max=R_MAX + 1)).notes
    assert note == f"no force within 0.1 Å of r_max={R_MAX + 1:g} Å: is r_max right?"
    assert not check_cutoff(setting_of(Good())).notes


def test_without_cutoff_it_is_left_out():
    with pytest.raises(LeftOutError, match="give r_max"):
        check_cutoff(setting_of(Good(), r_max=None))
