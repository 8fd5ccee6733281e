from dataclasses import asdict, fields
from pathlib import Path

import pytest
import yaml

from mace_train.cli.schema import root_schema
from mace_train.physics.limits import LIMITS, Limits, limits_for

CONFIG = Path(__file__).parents[2] / "configs" / "check.yaml"
NAMES = [field.name for field in fields(Limits)]


def test_float32_is_never_stricter_than_float64():
    strict, loose = asdict(LIMITS["float64"]), asdict(LIMITS["float32"])
    assert all(loose[name] >= strict[name] for name in NAMES)


def test_a_limit_can_be_replaced_and_null_keeps_it():
    limits = limits_for("float64", {"nve_drift": 0.7, "forces": None})
    assert (limits.nve_drift, limits.forces) == (0.7, 1e-8)
    with pytest.raises(ValueError, match=r"no limits \['drift'\]"):
        limits_for("float64", {"drift": 1.0})


def test_the_config_file_has_every_limit_with_its_two_values():
    assert list(yaml.safe_load(CONFIG.read_text())["limits"]) == NAMES
    assert list(root_schema("check").fields["limits"].fields) == NAMES
    lines = {line.split(":")[0].strip(): line for line in CONFIG.read_text().splitlines()}
    for name in NAMES:
        numbers = [float(word) for word in lines[name].split() if _is_number(word)]
        both = {asdict(LIMITS[dtype])[name] for dtype in ("float64", "float32")}
        assert both <= set(numbers), name


def _is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True
