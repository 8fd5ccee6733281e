"""The table of elements."""

import pytest

from mace_train.elements import MP0_ATOMIC_NUMBERS, ElementTable


def test_the_mp0_table_has_89_elements_without_polonium_to_radium():
    assert len(MP0_ATOMIC_NUMBERS) == 89
    assert set(range(1, 95)) - set(MP0_ATOMIC_NUMBERS) == {84, 85, 86, 87, 88}


def test_containing_sorts_and_removes_repetition():
    assert ElementTable.containing([8, 1, 1, 14]).atomic_numbers == (1, 8, 14)


def test_index_of_gives_places_in_the_table():
    table = ElementTable((1, 8, 14))
    assert table.index_of([14, 1, 8, 8]).tolist() == [2, 0, 1, 1]
    assert table.index_of([]).tolist() == []


def test_an_unknown_element_is_named_with_those_that_are_known():
    with pytest.raises(
        ValueError, match=r"element Na, Cu is not known .* 3 elements: H O Si"
    ):
        ElementTable((1, 8, 14)).index_of([29, 1, 11])


@pytest.mark.parametrize("numbers", [(), (8, 1), (1, 1), (0, 1), (1, 119)])
def test_a_table_that_is_not_ascending_unique_and_in_range_is_refused(numbers):
    with pytest.raises(ValueError, match=r"element|atomic numbers"):
        ElementTable(numbers)
