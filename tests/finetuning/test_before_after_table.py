import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mace_train.finetuning.before_after_table import (
    before_after_table,
    verdict,
    warnings,
)

sys.path.insert(0, str(Path(__file__).parent))
from compared_models import comparison, errors, row

GUARD = row("guard", errors(0.0, 0.0), errors(0.004, 0.012), origin="50 probe frames")


def test_the_table_has_a_line_for_each_model_and_their_ratio():
    lines = before_after_table(comparison(row(), GUARD)).splitlines()
    assert "energy (meV/atom)" in lines[0]
    assert "stress (meV/Å³)" in lines[0]
    assert lines[1].split() == ["set", "head", "frames", "model", *["MAE", "RMSE"] * 3]
    before, after, ratio, guard = (line.split() for line in lines[2:6])
    assert before[:4] == ["valid", "Default", "4", "parent"]
    assert before[-6:] == ["30.00", "60.00", "210.00", "420.00", "4.00", "8.00"]
    assert after == ["fine-tuned", "3.00", "6.00", "34.00", "68.00", "2.00", "4.00"]
    assert ratio[-6:] == ["0.10", "0.10", "0.16", "0.16", "0.50", "0.50"]
    assert guard[:4] == ["guard", "Default", "4", "parent"]
    assert lines[6].split() == ["fine-tuned", "4.00", "8.00", "12.00", "24.00", "-", "-"]
    assert lines[7].split() == ["after", "/", "before", *["-"] * 6]


def test_columns_stand_below_each_other():
    lines = before_after_table(comparison(row(came=errors(3.0, 0.2)), GUARD)).splitlines()
    ends = [len(line) for line in lines]
    assert len(set(ends)) == 1
    start = lines[1].index("model")
    assert lines[2][start:].startswith("parent as it came")
    assert lines[3][start:].startswith("parent ")
    assert lines[4][start:].startswith("fine-tuned")


def test_the_verdict_says_both_sets_in_words():
    forces, energies = verdict(comparison(row(), GUARD))
    assert forces == (
        "forces on your frames (4 of valid): 210 -> 34 meV/Å; "
        "on the guard (50 probe frames): 0 -> 12 meV/Å"
    )
    assert "30 -> 3 meV/atom" in energies
    assert verdict(comparison(row(before=errors(None, 1.0), after=errors(None, 1.0))))[
        0
    ].startswith("forces")


def test_heads_are_named_where_a_set_has_several():
    heads = [replace(GUARD, head=head) for head in ("mine", "old")]
    (forces, _) = verdict(comparison(row(), *heads))
    assert "(50 probe frames; head old): 0 -> 12" in forces
    assert "head Default" not in forces


def test_nothing_is_warned_of_where_all_is_well():
    assert warnings(comparison(row(), GUARD)) == []


def test_worse_than_the_parent_on_the_users_frames_is_warned_of():
    worse = row(before=errors(0.03, 0.034), after=errors(0.02, 0.040))
    (warning,) = warnings(comparison(worse, GUARD))
    assert "worse than the parent on your frames" in warning
    assert "forces 34 -> 40 meV/Å" in warning
    assert "energy" not in warning
    assert "recipe.lr" in warning


def test_an_error_that_is_larger_by_chance_is_no_warning():
    alike = row(before=errors(0.00581, 0.034), after=errors(0.00585, 0.0342))
    assert warnings(comparison(alike, GUARD)) == []
    worse = row(before=errors(0.00581, 0.034), after=errors(0.00590, 0.0342))
    (warning,) = warnings(comparison(worse, GUARD))
    assert "energy 5.81 -> 5.9 meV/atom" in warning
    assert "forces" not in warning


def test_a_lost_guard_is_warned_of_with_its_share_and_the_cure():
    lost = replace(GUARD, after=errors(0.1, 0.2))  # of a mean force of 0.4 eV/Å
    (warning,) = warnings(comparison(row(), lost))
    assert "larger by 50 % of their mean size (400 meV/Å)" in warning
    assert "data.replay=FILES" in warning
    kept = replace(GUARD, after=errors(0.1, 0.099))
    assert warnings(comparison(row(), kept)) == []


def test_a_parents_head_that_still_knows_the_guard_is_enough():
    new = replace(GUARD, head="mine", after=errors(0.1, 0.3))
    old = replace(GUARD, head="old")
    assert warnings(comparison(new, old)) == []
    lost = replace(old, after=errors(0.1, 0.2))
    (warning,) = warnings(comparison(new, lost))
    assert "head old" in warning


@pytest.mark.parametrize("name", ["valid", "guard"])
def test_a_diverged_model_is_not_to_be_used(name):
    compared = comparison(replace(row(name), after=None))
    assert "not finite" in verdict(compared)[0]
    assert "do not use it" in warnings(compared)[0]
    line = before_after_table(compared).splitlines()[3]
    assert line.split() == ["fine-tuned", *["-"] * 6]
