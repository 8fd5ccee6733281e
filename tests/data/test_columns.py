"""Arrays of shards: no bit of a number is lost, and no flipped bit goes unseen."""

import pickle

import numpy as np
import pytest

from mace_train.data.columns import (
    ABSENT,
    DECIMAL,
    FLOAT,
    ArrayFile,
    DamagedShardError,
    RaggedWriter,
    decode_json,
    encode_json,
    ragged_frame,
    write_arrays,
)


@pytest.fixture
def parts():
    generator = np.random.default_rng(0)
    return [
        np.round(generator.normal(0, 5, (4, 3)), 8),
        None,
        generator.normal(0, 1, (2, 3)),  # all digits of float64
        np.array([[25.12345678, -0.00000001, 1e-8]]),  # beyond the range of four bytes
        np.array([[21.0, -21.0, 0.1]]),
    ]


def test_every_number_comes_back_bit_for_bit(tmp_path, parts):
    writer = RaggedWriter()
    stored = [writer.add(part) for part in parts]
    write_arrays(tmp_path / "a.h5", writer.arrays("positions"), {})
    file = ArrayFile(tmp_path / "a.h5")
    for part, bytes_, form, start in zip(parts, stored, writer.forms, writer.starts):
        values, read_bytes = ragged_frame(
            file,
            "positions",
            form=form,
            start=start,
            num_atoms=0 if part is None else len(part),
        )
        assert read_bytes == bytes_
        if part is None:
            assert values is None
        else:
            assert values.dtype == np.float64
            np.testing.assert_array_equal(values, part)


def test_numbers_with_eight_decimals_take_four_bytes(parts):
    writer = RaggedWriter()
    for part in parts:
        writer.add(part)
    assert writer.forms == [DECIMAL, ABSENT, FLOAT, FLOAT, DECIMAL]
    arrays = writer.arrays("positions")
    assert arrays["atoms/positions_decimal"].nbytes == 5 * 3 * 4
    assert arrays["atoms/positions_float"].nbytes == 3 * 3 * 8


def test_a_file_without_any_number_can_be_read(tmp_path):
    write_arrays(tmp_path / "a.h5", RaggedWriter().arrays("forces"), {"answer": 42})
    file = ArrayFile(tmp_path / "a.h5")
    assert file.attributes["answer"] == 42
    assert file.array("frames/forces_form").shape == (0,)


def test_a_flipped_bit_of_a_column_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    values = np.arange(1000, dtype="<f8")
    write_arrays(path, {"frames/energy": values}, {})
    content = bytearray(path.read_bytes())
    content[content.find(values.tobytes()) + 4321] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DamagedShardError, match=r"a\.h5 is damaged .*frames/energy differs"
    ):
        ArrayFile(path).array("frames/energy")


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.001])
def test_a_file_cut_short_is_refused(tmp_path, keep):
    path = tmp_path / "a.h5"
    write_arrays(path, {"frames/energy": np.arange(1000.0)}, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DamagedShardError, match=r"shard .*a\.h5 is damaged"):
        ArrayFile(path)


def test_an_absent_file_is_called_absent(tmp_path):
    with pytest.raises(ValueError, match="there is no shard"):
        ArrayFile(tmp_path / "none.h5")


def test_an_array_that_a_shard_lacks_is_named(tmp_path):
    write_arrays(tmp_path / "a.h5", {"frames/energy": np.zeros(1)}, {})
    with pytest.raises(DamagedShardError, match="no array frames/cell"):
        ArrayFile(tmp_path / "a.h5").array("frames/cell")


def test_an_open_file_can_be_sent_to_another_process(tmp_path):
    write_arrays(tmp_path / "a.h5", {"frames/energy": np.arange(5.0)}, {})
    file = ArrayFile(tmp_path / "a.h5")
    file.array("frames/energy")
    message = pickle.dumps(file)
    assert len(message) < 1000
    np.testing.assert_array_equal(
        pickle.loads(message).array("frames/energy"), np.arange(5.0)
    )


def test_arrays_of_all_groups_are_found(tmp_path):
    arrays = {
        "frames/energy": np.arange(5.0),
        "groups/mp_id": np.arange(5, dtype="<i4"),
        "groups/by hand/ä": np.zeros((2, 3), "u1"),
        "atoms/positions_float": np.zeros((0, 3)),
        "header": encode_json({"answer": 42}),
    }
    write_arrays(tmp_path / "a.h5", arrays, {})
    file = ArrayFile(tmp_path / "a.h5")
    assert sorted(file.names) == sorted(arrays)
    for name, array in arrays.items():
        assert name in file
        assert file.array(name).dtype == array.dtype
        np.testing.assert_array_equal(file.array(name), array)


def test_json_of_any_size_comes_back():
    value = {"Å": ["x" * 100_000, None, 1.5]}
    assert decode_json(encode_json(value)) == value
