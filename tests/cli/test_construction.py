import pytest

from mace_train.cli.construction import construct
from mace_train.training.loss import HuberLoss


def test_a_group_is_built_from_its_keys_and_more():
    group = {"_target_": "mace_train.training.loss.HuberLoss", "huber_delta": 0.5}
    assert construct(group, energy_weight=2.0) == HuberLoss(2.0, huber_delta=0.5)
    assert group["_target_"].endswith("HuberLoss")


def test_a_wrong_key_is_an_error():
    with pytest.raises(TypeError, match="no_such_key"):
        construct({"_target_": "mace_train.training.loss.HuberLoss", "no_such_key": 1})
