"""Settings differ by more than rounding, and messages stay short."""

from mace_train.training.differences import differ, joined, shown, word


def test_rounding_and_the_kind_of_a_list_are_no_difference():
    assert not differ([[-1.0, 2.0]], ((-1.0 - 1e-12, 2.0),))
    assert differ([1.0, 2.0], [1.0])
    assert differ(1.0, "1.0")
    assert differ(None, 0.0)


def test_many_differences_are_counted():
    assert joined(["a", "b"]) == "a; b"
    assert joined(list("abcdefg")) == "a; b; c; d; e; and 2 more"


def test_values_are_shown_as_they_are_typed_and_cut_if_long():
    assert [word(value) for value in (None, False, 3, "x")] == ["null", "false", "3", "x"]
    assert len(shown("x" * 500)) == 60
