"""The average of the weights: torch-ema's rule, swapping, and going on."""

import pytest
import torch
from torch import nn

from mace_train.training.ema import WeightAverage, state_to_use


def _model(frozen=False) -> nn.Module:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    model[1].requires_grad_(not frozen)
    return model


def test_the_average_follows_its_recursion_with_a_short_memory_at_first():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    averaged = WeightAverage(decay=0.3).follow(model)
    expected = 0.0
    for n in range(1, 8):
        nn.init.constant_(model.weight, float(n))
        averaged.update()
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    with averaged.swapped_in():
        assert model.weight.item() == pytest.approx(expected, rel=1e-6)
    assert model.weight.item() == 7.0


def test_raw_weights_come_back_bit_for_bit_even_after_an_error():
    model = _model()
    averaged = WeightAverage(decay=0.9).follow(model)
    nn.init.normal_(model[0].weight)
    averaged.update()
    before = model[0].weight.clone()

    def fail():
        with averaged.swapped_in():
            assert not torch.equal(model[0].weight, before)
            raise RuntimeError("in validation")

    with pytest.raises(RuntimeError, match="in validation"):
        fail()
    assert torch.equal(model[0].weight, before)


def test_the_model_state_has_averages_for_weights_and_the_rest_as_it_is():
    model = _model(frozen=True)
    averaged = WeightAverage(decay=0.9).follow(model)
    nn.init.constant_(model[0].weight, 5.0)
    averaged.update()
    state = averaged.model_state()
    assert state.keys() == model.state_dict().keys()
    with averaged.swapped_in():
        for name, value in model.state_dict().items():
            assert torch.equal(state[name], value), name
    assert state["0.weight"].item() != 5.0


def test_another_average_goes_on_from_the_state():
    model = _model()
    one = WeightAverage(decay=0.9).follow(model)
    nn.init.normal_(model[0].weight)
    one.update()
    other = WeightAverage(decay=0.9).follow(model)
    other.load_state_dict(one.state_dict())
    nn.init.normal_(model[0].weight)
    one.update()
    other.update()
    for name, value in one.model_state().items():
        assert torch.equal(other.model_state()[name], value)


def test_averages_of_other_parameters_are_refused_by_name():
    state = WeightAverage(decay=0.9).follow(_model(frozen=True)).state_dict()
    with pytest.raises(ValueError, match=r"differ in 1\.bias, 1\.weight"):
        WeightAverage(decay=0.9).follow(_model()).load_state_dict(state)


def test_no_decay_means_no_average():
    assert WeightAverage(decay=None).follow(_model()) is None


def test_a_step_that_was_left_out_changes_no_average():
    model = _model()
    averaged = WeightAverage(decay=0.9).follow(model)
    nn.init.normal_(model[0].weight)
    averaged.update(torch.tensor(1.0))
    before = {name: value.clone() for name, value in averaged.model_state().items()}
    nn.init.normal_(model[0].weight)
    averaged.update(torch.tensor(0.0))
    for name, value in averaged.model_state().items():
        assert torch.equal(before[name], value)


def test_a_share_on_the_device_is_as_good_as_a_number():
    averages = []
    for one in (1.0, torch.tensor(1.0)):
        torch.manual_seed(3)
        model = _model()
        averaged = WeightAverage(decay=0.9).follow(model)
        nn.init.normal_(model[0].weight)
        averaged.update(one)
        averages.append(averaged.model_state()["0.weight"])
    assert torch.allclose(*averages, rtol=1e-6)


def test_the_weights_to_use_are_the_averages_if_there_are_any():
    model = _model()
    assert state_to_use(model, None) is None
    averaged = WeightAverage(decay=0.9).follow(model)
    nn.init.constant_(model[0].weight, 5.0)
    averaged.update()
    state = state_to_use(model, averaged)
    assert state.keys() == model.state_dict().keys()
    assert state["0.weight"].item() not in (5.0, model[0].weight.item())
