import pytest

from mace_train.cli.schema import check_value
from mace_train.cli.values import Choice, Group, ListOf, MappingOf, Scalar, Union
from mace_train.constraints import Interval

LR = Union((Scalar(float, Interval(above=0)),))


def test_an_integer_passes_as_a_float_and_becomes_one():
    assert type(LR.convert(1)) is float


@pytest.mark.parametrize("value", [True, "0.1", None, -0.1, [0.1]])
def test_a_positive_number_refuses_everything_else(value):
    with pytest.raises(ValueError, match="not allowed"):
        LR.convert(value)


def test_a_boolean_is_no_integer_and_an_integer_no_boolean():
    for kind, value in ((Scalar(int), True), (Scalar(bool), 1), (Choice((1,)), True)):
        with pytest.raises(ValueError, match="not allowed"):
            kind.convert(value)


def test_a_list_converts_its_items_and_minds_its_length():
    betas = ListOf(LR, length=2)
    assert betas.convert([1, 0.5]) == (1.0, 0.5)
    assert ListOf(LR).convert([1, 0.5]) == [1.0, 0.5]
    for wrong in ([0.5], [0.5, -1], 0.5):
        with pytest.raises(ValueError, match="not allowed"):
            betas.convert(wrong)


def test_a_mapping_converts_its_values():
    assert MappingOf(LR).convert({"a": 1}) == {"a": 1.0}
    for wrong in ({"a": -1}, [1], None):
        with pytest.raises(ValueError, match="not allowed"):
            MappingOf(LR).convert(wrong)


def test_a_mapping_with_known_keys_is_no_plain_value():
    kind = Union((Scalar(str), Group({"path": LR})))
    assert kind.group == Group({"path": LR})
    assert str(kind) == "a text | {path}"
    with pytest.raises(ValueError, match="not allowed"):
        kind.convert({"path": 1})


def test_a_wrong_value_is_shown_with_what_is_allowed_and_the_nearest_choice():
    kind = Union((Choice(("residual", "density", None)),))
    _, (problem,) = check_value("model.interaction", "residuel", kind)
    assert str(problem) == (
        "model.interaction: 'residuel' is not allowed; "
        "allowed: residual | density | null; did you mean residual?"
    )


def test_a_missing_value_says_what_to_give():
    _, (problem,) = check_value("data.train", "???", Union((Scalar(str),)))
    assert str(problem) == "data.train: must be given: data.train=...  (allowed: a text)"
