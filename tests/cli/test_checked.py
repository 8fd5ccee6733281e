from mace_train.cli.checked import Values


def test_only_right_values_are_seen():
    values = Values({"data": {"seed": 1, "r_max": -5.0}}, {"data": "sample"}, {"data.seed"})
    assert values.get("data.seed") == 1
    assert values.get("data.r_max") is None
    assert values.has("data.seed")
    assert not values.has("data.seed", "data.r_max")
    assert values.within("data") == {"seed": 1}
    assert values.within("submit") == {}
