from mace_train.cli.problems import ConfigError, Problem, flatten, nearest


def test_a_config_error_is_a_value_error():
    assert issubclass(ConfigError, ValueError)


def test_an_error_lists_all_problems():
    error = ConfigError([Problem("seed", "is odd"), Problem("", "files do not fit")])
    assert str(error).splitlines() == [
        "mace-train: 2 problems in the configuration",
        "  seed: is odd",
        "  files do not fit",
    ]


def test_leaves_are_named_by_dotted_keys():
    assert dict(flatten({"a": {"b": 1, "c": {}}, "d": [1]})) == {
        "a.b": 1,
        "a.c": {},
        "d": [1],
    }


def test_nothing_is_suggested_where_nothing_is_near():
    assert nearest("zebra", ["max_epochs"]) == ""


def test_the_nearest_word_is_suggested():
    assert nearest("max_epoch", ["devices", "max_epochs"]) == "; did you mean max_epochs?"
