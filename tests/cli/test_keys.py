from pathlib import Path

import pytest
import yaml

from mace_train.cli.keys import Evaluate, Prepare, Train
from mace_train.cli.schema import root_schema
from mace_train.cli.values import Group

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("keys", [Train, Prepare, Evaluate])
def test_every_command_has_exactly_the_keys_of_its_config_file(keys):
    name = keys.__name__.lower()
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    groups = [next(iter(item)) for item in config.pop("defaults") if item != "_self_"]
    named = {group.removeprefix("optional ").removeprefix("override ") for group in groups}
    expected = {*config, *named} - {"hydra", "experiment"}
    assert set(root_schema(name).fields) == expected


@pytest.mark.parametrize("command", ["prepare", "evaluate"])
def test_the_keys_of_input_files_are_those_of_the_config_file(command):
    config = yaml.safe_load((CONFIGS / f"{command}.yaml").read_text())
    data = root_schema(command).fields["data"]
    assert isinstance(data, Group)
    assert set(data.fields) == set(config["data"])


def test_recipes_set_only_keys_of_the_recipe():
    recipe = root_schema("train").fields["recipe"]
    assert isinstance(recipe, Group)
    for path in (CONFIGS / "recipe").glob("*.yaml"):
        assert set(yaml.safe_load(path.read_text())) == set(recipe.fields)
