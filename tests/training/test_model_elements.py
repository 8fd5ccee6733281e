import pytest
from small_crystals import make_frame, store_of

from mace_train.elements import ElementTable
from mace_train.training.frame_set import FrameSet
from mace_train.training.model_elements import choose_elements


@pytest.fixture
def store(tmp_path):
    return store_of(tmp_path, [make_frame(i) for i in range(3)])


def chosen(store, elements, of_parent=None):
    sets = {"train": FrameSet.of_all(store)}
    return choose_elements(elements, store, sets, of_parent=of_parent).atomic_numbers


def test_elements_are_those_of_the_data_of_a_list_or_of_a_parent(store):
    assert chosen(store, "auto") == (3, 8)
    assert chosen(store, ["O", "Li", 1]) == (1, 3, 8)
    assert len(chosen(store, "mp0")) == 89
    assert chosen(store, "auto", ElementTable((3, 8, 26))) == (3, 8, 26)


def test_what_is_no_element_or_not_among_them_is_named(store):
    with pytest.raises(ValueError, match="'Xx' is no element"):
        chosen(store, ["Xx"])
    with pytest.raises(ValueError, match="does not know O, which 3 of 3 frames"):
        chosen(store, ["Li"])
