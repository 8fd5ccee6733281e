import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from compared_models import comparison, errors, row


def test_a_ratio_is_after_over_before():
    assert row().ratio("forces_mae") == pytest.approx(34 / 210)
    assert row().ratio("energy_per_atom_rmse") == pytest.approx(0.1)


@pytest.mark.parametrize("before", [0.0, 1e-6, None])
def test_there_is_no_ratio_to_rounding_or_to_nothing(before):
    assert row(before=errors(before, before)).ratio("forces_mae") is None


def test_there_is_no_ratio_where_the_model_has_diverged():
    diverged = row().__class__("valid", "Default", "", errors(1.0, 1.0), None, None, None)
    assert diverged.ratio("forces_mae") is None


def test_json_holds_all_rows_with_their_ratios():
    came = errors(3.0, 0.2)
    compared = comparison(row(came=came), row("guard", origin="9 frames"), notes=("so",))
    found = json.loads(json.dumps(compared.as_dict(), allow_nan=False))
    assert [one["set"] for one in found["sets"]] == ["valid", "guard"]
    assert found["sets"][0]["before"]["forces_mae"] == 0.210
    assert found["sets"][0]["after"]["forces_mae"] == 0.034
    assert found["sets"][0]["parent_as_it_came"] == came
    assert found["sets"][1]["parent_as_it_came"] is None
    assert found["sets"][1]["origin"] == "9 frames"
    assert found["sets"][0]["ratio"]["stress_mae"] == pytest.approx(0.5)
    assert "num_frames" not in found["sets"][0]["ratio"]
    assert found["notes"] == ["so"]
