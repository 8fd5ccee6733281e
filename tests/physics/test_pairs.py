from mace_train.physics.pairs import MOST_ELEMENTS, all_pairs, default_pairs


def test_few_elements_give_all_pairs_and_many_those_of_equal_atoms():
    assert all_pairs([8, 1, 8]) == ((1, 1), (1, 8), (8, 8))
    assert default_pairs([8, 1]) == (((1, 1), (1, 8), (8, 8)), "")
    pairs, note = default_pairs(range(1, 90))
    assert len(pairs) == 89
    assert "4005 pairs" in note
    assert "elements=all" in note


def test_the_border_between_few_and_many_is_where_it_says():
    assert len(default_pairs(range(1, MOST_ELEMENTS + 1))[0]) == 78
    assert len(default_pairs(range(1, MOST_ELEMENTS + 2))[0]) == MOST_ELEMENTS + 1
