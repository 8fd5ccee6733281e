"""Losses: mace-torch's formulas, absent labels, weights, and how a batch is cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pair_potential import PairPotential, make_frame, partly_labelled

from mace_train.graph import AtomicGraph
from mace_train.training.loss import HuberLoss, SquaredLoss, UniversalLoss, total_loss

LOSSES = [
    SquaredLoss(energy_weight=2.0, forces_weight=10.0, stress_weight=50.0),
    HuberLoss(energy_weight=2.0, forces_weight=10.0, stress_weight=50.0, huber_delta=0.3),
    UniversalLoss(
        energy_weight=2.0, forces_weight=10.0, stress_weight=50.0, huber_delta=0.3
    ),
]
by_kind = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
TOLERANCE = 1e-12  # float64, relative


@pytest.fixture(scope="module")
def model():
    return PairPotential().double()


def _predict(model, graph):
    return model(graph, compute_stress=True)


def _batch(**weights) -> AtomicGraph:
    """Crystals of unequal sizes with all labels, the forces of some very large."""
    batch = AtomicGraph.batch([make_frame(index) for index in (0, 1, 3, 4, 6)])
    sizes = torch.linspace(0, 350, batch.num_nodes, dtype=torch.float64)[:, None]
    labels = replace(batch.labels, forces=batch.labels.forces * sizes, **weights)
    return replace(batch, labels=labels)


def _huber(x, delta):
    x = np.abs(x)
    return np.where(x <= delta, x**2 / 2, delta * x - delta**2 / 2)


def _errors(model, batch):
    """Errors and weights as numpy arrays: energy per atom, forces, stress."""
    prediction, labels = _predict(model, batch), batch.labels
    atoms = np.bincount(batch.graph_index.numpy())
    return (
        (prediction.energy - labels.energy).detach().numpy() / atoms,
        (prediction.forces - labels.forces).detach().numpy(),
        (prediction.stress - labels.stress).detach().numpy(),
        labels.energy_weight.numpy(),
        labels.forces_weight.numpy()[batch.graph_index.numpy()][:, None],
        labels.stress_weight.numpy()[:, None, None],
    )


WEIGHTS = {
    "all_one": {},
    "unequal": {
        "energy_weight": torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0], dtype=torch.float64),
        "forces_weight": torch.tensor([0.2, 1.0, 2.0, 1.0, 0.7], dtype=torch.float64),
        "stress_weight": torch.tensor([1.0, 0.1, 1.0, 4.0, 2.0], dtype=torch.float64),
    },
}
by_weights = pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)


@by_weights
def test_squared_loss_is_the_weighted_mean_square(model, weights):
    batch = _batch(**weights)
    energy, forces, stress, w_energy, w_forces, w_stress = _errors(model, batch)
    expected = (
        2 * np.mean(w_energy * energy**2)
        + 10 * np.mean(w_forces * forces**2)
        + 50 * np.mean(w_stress * stress**2)
    )
    assert LOSSES[0](_predict(model, batch), batch).item() == pytest.approx(
        expected, TOLERANCE
    )


def test_huber_loss_is_the_mean_huber_of_unweighted_errors(model):
    batch = _batch()
    energy, forces, stress, *_ = _errors(model, batch)
    expected = (
        2 * _huber(energy, 0.3).mean()
        + 10 * _huber(forces, 0.3).mean()
        + 50 * _huber(stress, 0.3).mean()
    )
    assert LOSSES[1](_predict(model, batch), batch).item() == pytest.approx(
        expected, TOLERANCE
    )


@by_weights
def test_universal_loss_weighs_inside_huber_and_narrows_it_for_large_forces(model, weights):
    batch = _batch(**weights)
    energy, forces, stress, w_energy, w_forces, w_stress = _errors(model, batch)
    size = np.linalg.norm(w_forces * batch.labels.forces.numpy(), axis=1)
    assert size.min() < 100
    assert size.max() > 300
    delta = 0.3 * np.select([size < 100, size < 200, size < 300], [1.0, 0.7, 0.4], 0.1)
    expected = (
        2 * _huber(w_energy * energy, 0.3).mean()
        + 10 * _huber(w_forces * forces, delta[:, None]).mean()
        + 50 * _huber(w_stress * stress, 0.3).mean()
    )
    assert LOSSES[2](_predict(model, batch), batch).item() == pytest.approx(
        expected, TOLERANCE
    )


@pytest.mark.parametrize(
    ("size", "factor"), [(99.9, 1.0), (100.0, 0.7), (200.0, 0.4), (300.0, 0.1)]
)
def test_the_zones_of_the_universal_loss_begin_at_their_bounds(size, factor):
    reference = torch.tensor([[size, 0.0, 0.0]], dtype=torch.float64)
    error = torch.full((1, 3), 5.0, dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    delta = 0.01 * factor
    penalty = UniversalLoss().forces_penalty(error, one, reference=reference)
    assert penalty[0, 0].item() == pytest.approx(delta * (5.0 - delta / 2), TOLERANCE)


@by_kind
def test_a_perfect_prediction_costs_nothing(model, loss):
    batch = _batch()
    prediction = _predict(model, batch)
    labels = replace(
        batch.labels,
        energy=prediction.energy.detach(),
        forces=prediction.forces.detach(),
        stress=prediction.stress.detach(),
    )
    assert loss(prediction, replace(batch, labels=labels)).item() == 0.0


@by_kind
def test_the_loss_does_not_depend_on_how_the_batch_is_cut(model, loss):
    frames = partly_labelled(11)
    whole = AtomicGraph.batch(frames)
    cuts = [frames[:1], frames[1:4], frames[4:], []]
    parts = [AtomicGraph.batch(cut) if cut else AtomicGraph.empty() for cut in cuts]
    terms = [loss.terms(_predict(model, part), part) for part in parts]
    sums = torch.stack([sums for sums, _ in terms]).sum(0)
    counts = torch.stack([counts for _, counts in terms]).sum(0)
    expected = loss(_predict(model, whole), whole).item()
    assert expected > 0
    assert total_loss(sums, counts).item() == pytest.approx(expected, TOLERANCE)


@by_kind
@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
def test_a_weight_of_zero_is_an_absent_label_in_value_and_gradient(model, loss, name):
    frames = [make_frame(index) for index in (0, 1, 3, 4)]
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    batch = AtomicGraph.batch(frames)
    labels = replace(batch.labels, **{f"{name}_weight": torch.cat([zero, one])})

    def result(wrong):
        value = getattr(labels, name).clone()
        rows = frames[0].num_nodes if name == "forces" else 1
        value[:rows] += wrong
        graph = replace(batch, labels=replace(labels, **{name: value}))
        total = loss(_predict(model, graph), graph)
        return [total, *torch.autograd.grad(total, model.parameters())]

    assert all(map(torch.equal, result(0.0), result(1000.0)))


@by_kind
def test_the_mean_is_over_the_labels_present(model, loss):
    labelled = [make_frame(index) for index in (0, 1)]
    bare = [make_frame(index, weights=(0.0, 0.0, 0.0)) for index in (3, 4, 6)]
    few, many = AtomicGraph.batch(labelled), AtomicGraph.batch(labelled + bare)
    expected = loss(_predict(model, few), few).item()
    assert loss(_predict(model, many), many).item() == pytest.approx(expected, TOLERANCE)


@by_kind
def test_a_frame_weight_multiplies_all_terms_of_its_frame(model, loss):
    frames = [make_frame(index) for index in (0, 1, 3)]
    weights = torch.tensor([2.0, 0.5, 3.0], dtype=torch.float64)
    batch = AtomicGraph.batch(frames)
    by_property = weights[:, None].expand(3, 3)
    batch = replace(batch, labels=replace(batch.labels, frame_weight=by_property))
    sums, counts = loss.terms(_predict(model, batch), batch)
    alone = torch.stack([loss.terms(_predict(model, f), f)[0] for f in frames])
    assert torch.allclose(sums, weights @ alone, rtol=TOLERANCE)
    assert counts.tolist() == [3, 3 * batch.num_nodes, 27]


@by_kind
def test_each_property_has_a_weight_of_its_own_in_a_set(model, loss):
    frames = [make_frame(index) for index in (0, 1, 3)]
    weights = torch.tensor(
        [[2.0, 0.5, 3.0], [1.0, 1.0, 1.0], [0.1, 5.0, 0.7]], dtype=torch.float64
    )
    batch = AtomicGraph.batch(frames)
    batch = replace(batch, labels=replace(batch.labels, frame_weight=weights))
    sums, counts = loss.terms(_predict(model, batch), batch)
    alone = torch.stack([loss.terms(_predict(model, f), f)[0] for f in frames])
    assert torch.allclose(sums, (weights * alone).sum(dim=0), rtol=TOLERANCE)
    assert counts.tolist() == [3, 3 * batch.num_nodes, 27]


def test_the_weights_of_a_set_stand_before_huber_and_those_of_a_frame_inside(model):
    frame = make_frame(0, weights=(2.0, 1.0, 1.0))
    loss = UniversalLoss(forces_weight=0.0, stress_weight=0.0, huber_delta=0.3)
    weights = torch.tensor([[5.0, 1.0, 1.0]], dtype=torch.float64)
    graph = replace(frame, labels=replace(frame.labels, frame_weight=weights))
    error = _errors(model, frame)[0]
    expected = 5.0 * _huber(2.0 * error, 0.3).mean()
    assert loss(_predict(model, graph), graph).item() == pytest.approx(expected, TOLERANCE)


@by_kind
def test_a_property_of_weight_zero_need_not_be_predicted(model, loss):
    batch = _batch()
    energy_only = replace(loss, forces_weight=0.0, stress_weight=0.0)
    prediction = model(batch, compute_forces=False, compute_stress=False)
    sums, counts = energy_only.terms(prediction, batch)
    assert sums[0] > 0
    assert sums[1:].tolist() == [0, 0]
    assert counts.tolist() == [5, 0, 0]


@by_kind
def test_a_batch_of_no_frames_costs_nothing(model, loss):
    empty = AtomicGraph.empty()
    sums, counts = loss.terms(_predict(model, empty), empty)
    assert sums.tolist() == counts.tolist() == [0, 0, 0]
    assert loss(_predict(model, empty), empty).item() == 0.0


@by_kind
def test_energies_may_be_told_in_float64_beside_a_float32_model(loss):
    frames = [make_frame(index, dtype=torch.float32) for index in range(5)]
    batch, model = AtomicGraph.batch(frames), PairPotential()
    prediction = _predict(model, batch)
    expected = loss(prediction, batch)
    far = 1e6  # eV, of which float32 knows 0.06
    labels = replace(batch.labels, energy=batch.labels.energy.double() + far)
    far_away = replace(prediction, energy=prediction.energy.double() + far)
    sums, counts = loss.terms(far_away, replace(batch, labels=labels))
    assert sums.dtype == torch.float32
    assert torch.allclose(total_loss(sums, counts), expected, rtol=1e-5)
