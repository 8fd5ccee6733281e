import json
from pathlib import Path

import pytest
import torch
from small_crystals import make_frame, small_model

from mace_train.finetuning.checks_before_after import (
    QUICK_CHECKS,
    ChecksBeforeAfter,
    check_before_after,
)
from mace_train.physics.outcome import Findings, Measurement, Outcome

PATH = Path("runs/mine/model.safetensors")
STRUCTURES = [make_frame(0), make_frame(1, molecule=True)]


def outcome(value, *, limit=1.0, check="forces"):
    found = Findings((Measurement("forces", value, "eV/Å", limit, "Li2"),))
    return Outcome(check, "ok" if value <= limit else "FAILED", found)


def test_both_models_are_checked_by_the_same_checks():
    parent, tuned = small_model(), small_model(seed=1).train()
    told = []
    found = check_before_after(parent, tuned, STRUCTURES, tell=told.append)
    assert tuple(one.check for one in found.before) == QUICK_CHECKS
    assert tuple(one.check for one in found.after) == QUICK_CHECKS
    states = {one.check: one.state for one in (*found.before, *found.after)}
    for name in ("rotation", "forces", "stress", "cutoff", "nve"):
        assert states[name] == "ok", name  # laws hold whatever the weights are
    assert found.before[1].worst.value != found.after[1].worst.value
    assert told[0] == "rotation (parent)"
    assert told[-1] == "nve (fine-tuned)"
    assert tuned.training
    assert parent.training == small_model().training
    assert (parent.backend, tuned.backend) == ("auto", "auto")


def test_dimers_are_those_of_the_users_elements():
    model = small_model((3, 8, 14))
    found = check_before_after(model, model, STRUCTURES, names=["dimers"])
    curves = found.after[0].findings.curves
    assert {curve.label for curve in curves} == {"Li-Li", "Li-O", "O-O"}


def test_each_model_is_held_to_the_limits_of_its_dtype():
    parent, tuned = small_model(), small_model().to(torch.float32)
    found = check_before_after(parent, tuned, STRUCTURES, names=["rotation"])
    limits = [one[0].findings.measurements[0].limit for one in (found.before, found.after)]
    assert limits[1] > 100 * limits[0]
    assert found.newly_failed == []


def test_a_head_of_each_model_is_checked():
    parent, tuned = small_model(heads=("a", "b")), small_model(heads=("c", "b"))
    heads = {"parent_head": "a", "head": "c"}
    found = check_before_after(parent, tuned, STRUCTURES, names=["rotation"], **heads)
    assert found.after[0].state == "ok"
    with pytest.raises(ValueError, match="several heads"):
        check_before_after(parent, tuned, STRUCTURES, names=["rotation"])


def test_no_structure_is_refused():
    with pytest.raises(ValueError, match="no structure to check"):
        check_before_after(small_model(), small_model(), [])


def test_what_failed_before_too_is_not_new():
    good, bad = outcome(0.5), outcome(2.0)
    assert ChecksBeforeAfter((good,), (bad,)).newly_failed == ["forces"]
    assert ChecksBeforeAfter((bad,), (bad,)).newly_failed == []
    assert ChecksBeforeAfter((bad,), (good,)).newly_failed == []
    assert ChecksBeforeAfter((good,), (good,)).warning(PATH) is None


def test_a_new_failure_is_warned_of_with_number_and_command():
    warning = ChecksBeforeAfter((outcome(0.5),), (outcome(2.0),)).warning(PATH)
    assert "forces (2 eV/Å)" in warning
    assert warning.endswith("mace-check checkpoint=runs/mine/model.safetensors")
    broken = Outcome("nve", "FAILED", reason="ValueError: diverged")
    warning = ChecksBeforeAfter((outcome(0.1, check="nve"),), (broken,)).warning(PATH)
    assert "nve (ValueError: diverged)" in warning


def test_the_table_shows_the_same_quantity_of_both_models():
    before = Findings(
        (Measurement("energy", 0.9, "eV", 1.0), Measurement("x", 0.1, "", 1.0))
    )
    after = Findings(
        (Measurement("energy", 0.3, "eV", 1.0), Measurement("x", 0.7, "", 1.0))
    )
    found = ChecksBeforeAfter(
        (
            Outcome("rotation", "ok", before),
            Outcome("stress", "left out", reason="no cell"),
        ),
        (Outcome("rotation", "ok", after), Outcome("stress", "left out", reason="no cell")),
    )
    lines = found.table().splitlines()
    assert lines[0].split() == ["check", "parent", "fine-tuned", "unit", "limit"]
    assert lines[1].split() == ["rotation", "0.1", "ok", "0.7", "ok", "(x)", "1"]
    assert lines[2].split() == ["stress", "-", "left", "out", "-", "left", "out"]


def test_json_holds_both_outcomes_of_each_check():
    found = ChecksBeforeAfter((outcome(0.5),), (outcome(float("inf")),))
    written = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert written["newly_failed"] == ["forces"]
    forces = written["checks"]["forces"]
    assert forces["before"]["measurements"][0]["value"] == 0.5
    assert forces["after"]["measurements"][0]["value"] is None
    assert forces["after"]["state"] == "FAILED"
