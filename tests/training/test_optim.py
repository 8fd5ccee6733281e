"""The optimizer's groups, clipping, warm-up, and the schedules, against torch's own."""

import logging
import math

import pytest
import torch
from torch import nn

from mace_train.training.optim import (
    ConstantSchedule,
    CosineSchedule,
    Optimizer,
    PlateauSchedule,
    decays,
    use_fused_steps,
)

# Names of a two-layer MACE, and whether mace-torch 0.3.16 puts them into a group that
# decays.
DECAYS_BY_NAME = {
    "node_embedding.linear.weight": False,
    "interactions.0.linear_up.weight": False,
    "interactions.0.conv_tp_weights.layer0.weight": False,
    "interactions.0.linear.weight": True,
    "interactions.0.skip_tp.weight": False,
    "interactions.1.density_fn.layer0.weight": False,
    "products.0.symmetric_contractions.contractions.0.weights_max": True,
    "products.1.symmetric_contractions.contractions.0.weights.1": True,
    "products.1.linear.weight": True,
    "readouts.0.linear.weight": False,
    "readouts.1.linear_2.weight": False,
}


@pytest.mark.parametrize(("name", "expected"), DECAYS_BY_NAME.items())
def test_only_product_weights_and_the_linear_map_of_messages_decay(name, expected):
    assert decays(name) is expected


class _Nested(nn.Module):
    """A decaying and a lasting parameter, both 1."""

    def __init__(self) -> None:
        super().__init__()
        self.products = nn.Linear(1, 1, bias=False)
        self.readouts = nn.Linear(1, 1, bias=False)
        for parameter in self.parameters():
            nn.init.ones_(parameter)


@pytest.mark.parametrize("algorithm", ["adam", "adamw"])
def test_weights_outside_the_decaying_group_keep_their_size(algorithm):
    model = _Nested()
    optimizer = Optimizer(algorithm=algorithm, lr=0.1, weight_decay=0.5).build(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert model.readouts.weight.item() == 1.0
    # Adam turns a small gradient into a step of lr; AdamW takes lr * decay off
    assert model.products.weight.item() == pytest.approx(
        0.9 if algorithm == "adam" else 0.95
    )


def test_settings_reach_the_optimizer():
    settings = Optimizer(algorithm="adamw", lr=0.3, betas=(0.8, 0.99), amsgrad=False)
    optimizer = settings.build(_Nested())
    assert type(optimizer) is torch.optim.AdamW
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["amsgrad"]) == (0.3, (0.8, 0.99), False)


@pytest.mark.parametrize("algorithm", ["adam", "adamw"])
def test_steps_are_those_of_plain_torch_to_rounding(algorithm):
    kind = torch.optim.Adam if algorithm == "adam" else torch.optim.AdamW
    ours, plain = (
        nn.Parameter(torch.ones(50).double()),
        nn.Parameter(torch.ones(50).double()),
    )
    model = nn.Module()
    model.products = nn.ParameterList([ours])
    settings = Optimizer(algorithm=algorithm, lr=0.1, weight_decay=0.01)
    optimizers = (
        settings.build(model),
        kind([plain], lr=0.1, weight_decay=0.01, amsgrad=True),
    )
    for _ in range(20):
        ours.grad = torch.randn(50, dtype=torch.float64)
        plain.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(ours, plain, rtol=1e-13, atol=1e-14)


def test_the_state_of_an_optimizer_that_was_not_fused_is_gone_on_with():
    model = _Nested()
    old = torch.optim.Adam(Optimizer().build(model).param_groups, amsgrad=True, fused=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for group in old.param_groups:
        group["fused"] = None
    old.step()
    state = old.state_dict()
    use_fused_steps([state])
    new = Optimizer().build(model)
    new.load_state_dict(state)
    new.step()
    assert all(group["fused"] for group in new.param_groups)
    assert [state["step"].item() for state in new.state.values()] == [2.0, 2.0]


@pytest.mark.parametrize("amsgrad", [True, False])
@pytest.mark.parametrize("algorithm", ["adam", "adamw"])
def test_a_step_can_be_left_out_on_the_device(algorithm, amsgrad):
    model = _Nested()
    optimizer = Optimizer(algorithm=algorithm, amsgrad=amsgrad).build(model)
    for found_inf, grad in ((0.0, 1.0), (1.0, math.nan)):
        optimizer.found_inf = torch.tensor(found_inf)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, grad)
        optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    for state in optimizer.state.values():
        assert state["step"] == 1.0
        assert all(torch.isfinite(value).all() for value in state.values())


def test_frozen_parameters_are_left_out():
    model = _Nested()
    model.products.requires_grad_(False)
    assert [group["name"] for group in Optimizer().build(model).param_groups] == [
        "no_decay"
    ]
    model.readouts.requires_grad_(False)
    with pytest.raises(ValueError, match="everything is frozen"):
        Optimizer().build(model)


@pytest.mark.parametrize(("clip_norm", "expected"), [(1.0, 0.6), (None, 3.0), (10.0, 3.0)])
def test_clipping_shortens_the_whole_gradient_and_tells_its_norm(clip_norm, expected):
    model = _Nested()
    model.products.weight.grad = torch.tensor([[3.0]])
    model.readouts.weight.grad = torch.tensor([[4.0]])
    assert Optimizer(clip_norm=clip_norm).clip(model).item() == pytest.approx(5.0)
    assert model.products.weight.grad.item() == pytest.approx(expected, rel=1e-5)


def test_the_norm_of_a_gradient_with_a_nan_is_not_finite():
    model = _Nested()
    model.products.weight.grad = torch.tensor([[math.nan]])
    model.readouts.weight.grad = torch.tensor([[4.0]])
    assert not math.isfinite(Optimizer(clip_norm=None).clip(model).item())


def test_warm_up_rises_linearly_to_one():
    warm = Optimizer(warmup_steps=4)
    assert [warm.warmup_factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert Optimizer(warmup_steps=0).warmup_factor(0) == 1.0


LOSSES = [
    1.0,
    0.9,
    0.95,
    0.93,
    0.91,
    0.89996,
    0.8,
    0.85,
    math.nan,
    0.9,
    0.9,
    0.9,
    0.7,
    0.7,
    0.7,
    0.7,
]


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_plateau_lowers_the_rate_when_torch_does(patience):
    schedule = PlateauSchedule(factor=0.5, patience=patience, min_lr=0.02)
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    plain = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, min_lr=0.02
    )
    for epoch, loss in enumerate(LOSSES):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule.learning_rate(0.1, epoch=epoch) == pytest.approx(expected), epoch
        schedule.observe(loss)
        plain.step(loss)
    assert schedule.learning_rate(0.1, epoch=99) < 0.1


def test_plateau_goes_on_from_its_state():
    one, other = (
        PlateauSchedule(factor=0.5, patience=1),
        PlateauSchedule(factor=0.5, patience=1),
    )
    for loss in LOSSES[:8]:
        one.observe(loss)
    other.load_state_dict(one.state_dict())
    for loss in LOSSES[8:]:
        one.observe(loss)
        other.observe(loss)
        assert other.learning_rate(1.0, epoch=0) == one.learning_rate(1.0, epoch=0)


def test_cosine_is_that_of_torch():
    schedule = CosineSchedule(num_epochs=8, final_fraction=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.2)
    plain = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=0.02)
    for epoch in range(9):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule.learning_rate(0.2, epoch=epoch) == pytest.approx(expected)
        optimizer.step()
        plain.step()


def test_a_longer_run_keeps_the_cosine_with_which_it_began(caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    begun, longer = CosineSchedule(num_epochs=8), CosineSchedule(num_epochs=20)
    longer.load_state_dict(begun.state_dict())
    for epoch in range(20):
        rate = begun.learning_rate(0.2, epoch=epoch)
        assert longer.learning_rate(0.2, epoch=epoch) == rate
    assert "keeps its length of 8 epochs" in caplog.text
    again = CosineSchedule(num_epochs=20)
    again.load_state_dict(longer.state_dict())
    assert again.num_epochs == 8


def test_a_cosine_goes_on_from_a_checkpoint_of_an_older_version(caplog):
    schedule = CosineSchedule(num_epochs=8)
    schedule.load_state_dict({})
    assert schedule.num_epochs == 8
    assert not caplog.text


def test_constant_keeps_the_rate():
    schedule = ConstantSchedule()
    schedule.observe(math.inf)
    assert schedule.learning_rate(0.3, epoch=1000) == 0.3
    schedule.load_state_dict(schedule.state_dict())
