from pathlib import Path

import pytest
import yaml

from mace_train.cli.model_keys import Check, CheckLimits, Export
from mace_train.cli.schema import root_schema
from mace_train.cli.values import Group

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("keys", [Export, Check])
def test_every_command_has_exactly_the_keys_of_its_config_file(keys):
    name = keys.__name__.lower()
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    config.pop("defaults")
    assert set(root_schema(name).fields) == set(config) == set(keys.__annotations__)


def test_the_limits_of_a_check_are_those_of_its_config_file():
    limits = root_schema("check").fields["limits"]
    assert isinstance(limits, Group)
    config = yaml.safe_load((CONFIGS / "check.yaml").read_text())
    assert set(limits.fields) == set(config["limits"]) == set(CheckLimits.__annotations__)
