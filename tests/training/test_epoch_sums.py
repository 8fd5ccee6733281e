"""What the steps of an epoch add up to."""

import pytest
import torch
from pair_potential import PairPotential, partly_labelled

from mace_train.graph import AtomicGraph
from mace_train.training.epoch_sums import EpochSums
from mace_train.training.history import COLUMNS
from mace_train.training.loss import SquaredLoss
from mace_train.training.metrics import ErrorSums

FRAMES = partly_labelled(11)
LOSS = SquaredLoss(1.0, 10.0, 100.0)
MODEL = PairPotential().double().eval()


def _terms(frames):
    batch = AtomicGraph.batch(frames)
    prediction = MODEL(batch, compute_stress=True)
    return prediction, batch, LOSS.terms(prediction, batch)


@pytest.mark.parametrize("size", [1, 4, 11])
def test_the_losses_of_an_epoch_do_not_depend_on_how_it_is_cut(size):
    sums = EpochSums()
    sums.begin_validation()
    for first in range(0, 11, size):
        prediction, batch, (values, counts) = _terms(FRAMES[first : first + size])
        sums.clock.begin_step()
        sums.add_step(values, counts, num_frames=batch.num_graphs)
        sums.clock.end_step()
        sums.add_validation(values, counts, prediction=prediction, graph=batch)
    prediction, batch, _ = _terms(FRAMES)
    expected = LOSS(prediction, batch).item()
    assert sums.running_loss() == pytest.approx(expected, rel=1e-12)
    errors = ErrorSums()
    errors.add(prediction, batch)
    results = sums.results()
    assert results["train/loss"] == pytest.approx(expected, rel=1e-12)
    assert results["valid/loss"] == pytest.approx(expected, rel=1e-12)
    assert results["valid/stress_mae"] == pytest.approx(errors.results()["stress_mae"])
    assert 0 < 11 / results["frames_per_second"] < results["seconds"]


def test_an_epoch_without_validation_has_no_errors():
    sums = EpochSums()
    _, batch, (values, counts) = _terms(FRAMES[:2])
    sums.add_step(values, counts, num_frames=batch.num_graphs)
    results = sums.results()
    assert results["valid/loss"] is results["valid/forces_mae"] is None
    assert set(results) == set(COLUMNS) - {"epoch", "step", "stage", "lr"}


def test_a_validation_begins_anew():
    sums = EpochSums()
    for frames in (FRAMES[:5], FRAMES[5:]):
        sums.begin_validation()
        prediction, batch, (values, counts) = _terms(frames)
        sums.add_validation(values, counts, prediction=prediction, graph=batch)
    assert sums.results()["valid/loss"] == pytest.approx(LOSS(prediction, batch).item())


def test_the_loss_so_far_keeps_no_graph_of_derivatives():
    sums = EpochSums()
    values = torch.ones(3, requires_grad=True) * 2
    sums.add_step(values, torch.ones(3, dtype=torch.float64), num_frames=1)
    assert sums.running_loss() == 6.0
    assert not sums._train_terms.requires_grad
