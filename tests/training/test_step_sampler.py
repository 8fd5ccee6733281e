import numpy as np
import pytest
import torch
from pair_potential import PairPotential, partly_labelled

from mace_train.training.loss import UniversalLoss
from mace_train.training.memory import MemoryGauge
from mace_train.training.optim import Optimizer
from mace_train.training.step_sampler import StepSampler

FRAMES = partly_labelled(12)
EDGES = np.array([frame.num_edges for frame in FRAMES])


class Gauge(MemoryGauge):
    """Says that 5 bytes are held, and 7 at most."""

    def begin(self):
        return 5

    def peak(self):
        return 7

    def room(self, num_processes):
        return None


def sampler(model, **options):
    return StepSampler(
        model,
        UniversalLoss(1.0, 10.0, 100.0),
        optimizer=Optimizer(lr=0.1, weight_decay=0.1),
        dataset=FRAMES,
        edge_counts=EDGES,
        device=torch.device("cpu"),
        gauge=Gauge(),
        **options,
    )


def test_weights_gradients_and_random_numbers_stay_as_they_are():
    model = PairPotential().double()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    sampler(model)(200)
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)
    assert all((parameter.grad == 2.0).all() for parameter in model.parameters())
    assert model.training
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_a_sample_is_about_as_large_as_asked_and_of_one_frame_at_least():
    sample = sampler(PairPotential().double())
    assert sample(1).edges == sorted(EDGES)[len(EDGES) // 2]
    asked = int(EDGES.sum() // 2)
    assert 0.5 * asked <= sample(asked).edges <= 1.2 * asked


def test_few_frames_are_taken_several_times():
    sample = sampler(PairPotential().double())
    many = int(5 * EDGES.sum())
    assert sample(many).edges == many


def test_all_that_a_step_costs_is_measured():
    sample = sampler(PairPotential().double())(100)
    assert (sample.bytes_before, sample.peak_bytes) == (5, 7)
    seconds = (sample.gradient_seconds, sample.optimizer_seconds, sample.loading_seconds)
    assert min(*seconds, sample.validation_seconds) > 0


def test_where_only_memory_is_of_interest_nothing_is_validated():
    assert sampler(PairPotential().double(), num_timings=0)(100).validation_seconds == 0


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_loss_without_stress_can_be_measured(weight):
    sample = StepSampler(
        PairPotential().double(),
        UniversalLoss(1.0, 1.0, weight),
        optimizer=Optimizer(),
        dataset=FRAMES,
        edge_counts=EDGES,
        device=torch.device("cpu"),
        gauge=Gauge(),
    )
    assert sample(50).edges > 0
