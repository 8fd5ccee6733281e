"""Names of other programs lead to keys that are there."""

import pytest

from mace_train.cli.composition import compose_unchecked
from mace_train.cli.other_names import OURS, our_name


@pytest.fixture(scope="module")
def whole():
    return compose_unchecked("train", []).config


@pytest.mark.parametrize("key", sorted(set(OURS.values())))
def test_our_key_is_there(whole, key):
    node = whole
    for part in key.split("."):
        assert part in node.keys()  # noqa: SIM118 - values may be missing
        node = node._get_node(part)


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_name_is_in_the_form_that_is_looked_up(name):
    assert our_name(f"group.{name.upper()}") == OURS[name]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("max_num_epochs=5", "did you mean recipe.max_epochs?"),
        ("optim.learning_rate=0.1", "did you mean recipe.lr?"),
        ("num_channels=64", "did you mean model.hidden_irreps?"),
    ],
)
def test_the_name_of_another_program_is_answered_with_ours(override, said):
    (problem,) = compose_unchecked("train", [override]).problems
    assert str(problem).endswith(said)


def test_a_key_of_another_command_is_not_offered():
    (problem,) = compose_unchecked("check", ["foundation_model=x"]).problems
    assert "init_from" not in str(problem)
