import pytest
import torch
from pair_potential import PairPotential, make_module, partly_labelled

from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches
from mace_train.training.gradients import (
    BatchGradient,
    FrameTooLargeError,
    sum_gradients,
)
from mace_train.training.loss import SquaredLoss, UniversalLoss
from mace_train.training.step_clock import StepClock
from mace_train.training.wishes import Wishes

FRAMES = partly_labelled(11)
LOSSES = (UniversalLoss(1.0, 10.0, 100.0), SquaredLoss(1.0, 10.0, 0.0))


def gradient_of(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def compute(gradient, share, loss=LOSSES[0]):
    return gradient.compute(share, loss=loss, wishes=Wishes(), clock=StepClock())


def by_autograd(loss):
    model, batch = PairPotential().double(), AtomicGraph.batch(FRAMES)
    loss(model(batch, compute_stress=True), batch).backward()
    return gradient_of(model)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("max_edges", [None, 120, 1])
def test_the_gradient_does_not_depend_on_how_a_share_is_cut(loss, max_edges):
    gradient = BatchGradient(PairPotential().double(), max_edges=max_edges)
    share = MicroBatches.of(AtomicGraph.batch(FRAMES))
    terms = compute(gradient, share, loss)
    for ours, expected in zip(gradient_of(gradient.model), by_autograd(loss)):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
    assert not terms.is_bad


def test_an_older_gradient_is_forgotten():
    gradient = BatchGradient(PairPotential().double())
    share = MicroBatches.of(AtomicGraph.batch(FRAMES))
    compute(gradient, share)
    once = gradient_of(gradient.model)
    compute(gradient, share)
    assert all(map(torch.equal, once, gradient_of(gradient.model)))


def test_a_share_without_frames_has_no_gradient_and_no_labels():
    gradient = BatchGradient(PairPotential().double())
    terms = compute(gradient, MicroBatches())
    assert terms.counts.tolist() == terms.sums.tolist() == [0, 0, 0]
    assert all(not grad.any() for grad in gradient_of(gradient.model))


def test_a_sum_that_is_not_finite_is_told():
    model = PairPotential().double()
    with torch.no_grad():
        model.readouts[0].weight[0, 0] = torch.nan
    assert compute(BatchGradient(model), MicroBatches.of(AtomicGraph.batch(FRAMES))).is_bad


class SmallMemory(PairPotential):
    """Runs out of memory on batches of many edges, after some of the gradient is there."""

    most_edges = max(frame.num_edges for frame in FRAMES)

    def forward(self, graph, **options):
        prediction = super().forward(graph, **options)
        if graph.num_edges > self.most_edges:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return prediction


def test_full_memory_halves_the_bound_repeats_the_step_and_says_so_once(caplog):
    gradient = BatchGradient(SmallMemory().double(), max_edges=400)
    share = MicroBatches.of(AtomicGraph.batch(FRAMES), max_edges=400)
    for _ in range(2):
        compute(gradient, share)
        for ours, expected in zip(gradient_of(gradient.model), by_autograd(LOSSES[0])):
            torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
    assert gradient.max_edges <= SmallMemory.most_edges
    told = [record.message for record in caplog.records]
    assert f"data.max_edges is {gradient.max_edges} from now on" in told[-1]
    assert len(told) <= 3


def test_a_single_frame_that_does_not_fit_is_an_error():
    gradient = BatchGradient(SmallMemory().double())
    gradient.model.most_edges = 10
    with pytest.raises(FrameTooLargeError, match=r"one frame of \d atoms and \d+ edges"):
        compute(gradient, MicroBatches.of(AtomicGraph.batch(FRAMES)))


def test_parameters_that_took_no_part_get_zeros():
    module = make_module()
    number = sum_gradients(module.model, torch.tensor(3))
    assert number == 3
    assert all(not p.grad.any() for p in module.model.parameters())


def test_full_memory_in_a_validation_takes_smaller_parts_too():
    gradient = BatchGradient(SmallMemory().double())
    found = gradient.predict(MicroBatches.of(AtomicGraph.batch(FRAMES)))
    assert sum(graph.num_graphs for graph, _ in found) == len(FRAMES)
    expected = gradient.model(AtomicGraph.batch(FRAMES[:1]), compute_stress=True)
    energy = found[0][1].energy[0].item()
    assert energy == pytest.approx(expected.energy.item())
    assert gradient.max_edges is not None
