import json
import math

from mace_train.physics.outcome import Findings, Measurement, Outcome


def test_nan_is_never_right_and_a_number_without_limit_always():
    assert not Measurement("drift", math.nan, "eV", 1.0).is_right
    assert Measurement("volume", 1e9, "Å³").is_right
    assert Measurement("holes", 0.0, "pairs", 0.0).is_right
    assert not Measurement("holes", 1.0, "pairs", 0.0).is_right


def test_the_worst_is_the_one_nearest_to_its_limit():
    small = Measurement("energy", 1e-3, "eV", 1.0)
    large = Measurement("forces", 0.5, "eV/Å", 0.6)
    free = Measurement("volume", 1e9, "Å³")
    holes = Measurement("holes", 0.0, "pairs", 0.0)
    assert Outcome("a", "ok", Findings((small, free, large, holes))).worst is large
    nan = Measurement("stress", math.nan, "eV/Å³", 1.0)
    assert Outcome("a", "FAILED", Findings((large, nan))).worst is nan
    assert Outcome("a", "left out", reason="no cell").worst is None


def test_it_is_plain_json_even_with_nan():
    measured = Measurement("drift", math.inf, "meV", 0.1, "Cu")
    outcome = Outcome("nve", "FAILED", Findings((measured,), notes=("a note",)))
    plain = json.loads(json.dumps(outcome.as_dict(), allow_nan=False))
    assert plain["measurements"][0]["value"] is None
    assert plain["measurements"][0]["is_right"] is False
    assert plain["notes"] == ["a note"]
