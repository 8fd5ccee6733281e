from mace_train.exports.export_format import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE


def test_float64_is_held_to_ten_digits_and_float32_to_its_rounding():
    assert FLOAT64_TOLERANCE.absolute == 1e-10
    assert FLOAT64_TOLERANCE.relative <= 1e-12
    assert FLOAT32_TOLERANCE.relative <= 1e-5
