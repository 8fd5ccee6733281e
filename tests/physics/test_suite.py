import sys
from pathlib import Path
from typing import get_args

import pytest
from ase.build import molecule

from mace_train.physics.suite import CHECKS, CheckName, run_checks

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Failing, Good, NotANumber, setting_of


def states(calculator, *args, **options):
    setting = setting_of(calculator, *args, nve_steps=50, **options)
    return {outcome.check: outcome for outcome in run_checks(setting, list(CHECKS))}


def test_a_potential_that_obeys_passes_all():
    outcomes = states(Good())
    assert {outcome.state for outcome in outcomes.values()} == {"ok"}
    assert list(outcomes) == [name for name in get_args(CheckName) if name != "probes"]


def test_a_calculator_that_fails_fails_every_check_with_its_message():
    outcomes = states(Failing())
    assert {outcome.state for outcome in outcomes.values()} == {"FAILED"}
    reasons = {outcome.reason for outcome in outcomes.values()}
    assert reasons == {"RuntimeError: CUDA error: out of memory"}


def test_nan_fails_every_check_but_those_of_forces_alone():
    wrong = {name for name, one in states(NotANumber()).items() if one.state == "FAILED"}
    assert wrong == set(CHECKS)


def test_checks_that_do_not_apply_are_left_out_and_the_others_made():
    outcomes = states(Good(), (molecule("H"),), r_max=None)
    left_out = {name for name, one in outcomes.items() if one.state == "left out"}
    assert left_out == {
        "permutation", "wrapping", "stress", "supercell", "far_pieces", "locality",
        "cutoff", "volumes", "nve",
    }  # fmt: skip
    assert all(outcomes[name].reason for name in left_out)


def test_only_what_is_asked_for_is_made_and_told():
    told = []
    setting = setting_of(Good(), tell=told.append)
    made = [outcome.check for outcome in run_checks(setting, ["forces", "rotation", "?"])]
    assert made == told == ["forces", "rotation"]


def test_a_defect_of_our_own_is_not_hidden():
    def check(setting):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_checks(setting_of(Good()), ["a"], checks={"a": check}))
