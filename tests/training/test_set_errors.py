import numpy as np
import pytest
from small_crystals import make_frame, store_of, without
from test_predictions import predict

from mace_train.training.set_errors import SetErrors


@pytest.fixture
def store(tmp_path):
    frames = [make_frame(i, molecule=i == 2) for i in range(5)]
    return store_of(tmp_path, [*frames, without(make_frame(5), "forces")])


def added(chunks, types):
    sums = SetErrors()
    for chunk in chunks:
        sums.add(chunk, [types[index] for index in chunk.frame_index])
    return sums


def test_chunks_add_up_to_the_whole(store):
    types = ["bulk", None, "cluster", "bulk", "bulk", None]
    whole = predict(store, offset=0.3)
    chunks = [predict(store, offset=0.3, indices=part) for part in ([0, 1], [2], [3, 4, 5])]
    one, several = added([whole], types), added(chunks, types)
    assert several.whole.results() == pytest.approx(one.whole.results(), rel=1e-12)
    assert one.by_config_type.keys() == {"bulk", "cluster"}
    for name, sums in one.by_config_type.items():
        for key, value in sums.results().items():
            found = several.by_config_type[name].results()[key]
            expected = value if value is None else pytest.approx(value, rel=1e-12)
            assert found == expected, key
    assert one.by_element.keys() == several.by_element.keys() == {3, 8}
    for number, (errors, zero) in one.by_element.items():
        others = several.by_element[number]
        assert (errors.count, zero.count) == (others[0].count, others[1].count)
        assert others[0].square == pytest.approx(errors.square, rel=1e-12)
        assert others[1].absolute == pytest.approx(zero.absolute, rel=1e-12)
    assert several.zero_forces.absolute == pytest.approx(one.zero_forces.absolute)
    for mine, other in zip(one.by_frame, several.by_frame):
        assert np.array_equal(mine, other, equal_nan=True)


def test_errors_by_frame_are_nan_where_there_is_no_label(store):
    index, energy, mae, largest = added([predict(store, offset=0.4)], [None] * 6).by_frame
    assert index.tolist() == list(range(6))
    assert energy == pytest.approx([0.1] * 6)
    assert mae[:5] == pytest.approx([0.4] * 5)
    assert np.isnan(mae[5])
    assert np.isnan(largest[5])


def test_no_frame_gives_empty_sums():
    sums = SetErrors()
    assert sums.whole.results()["num_frames"] == 0
    assert all(len(column) == 0 for column in sums.by_frame)
