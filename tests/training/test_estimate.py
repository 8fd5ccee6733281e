import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from pair_potential import PairPotential, partly_labelled

from mace_train.data.sampler import BatchSampler
from mace_train.training import estimate as module
from mace_train.training.estimate import (
    EXTRAPOLATION,
    Estimate,
    TrainingFrames,
    capacity,
    measure,
    resolve_max_edges,
)
from mace_train.training.loss import UniversalLoss
from mace_train.training.memory import MemoryGauge, MemoryRoom
from mace_train.training.optim import Optimizer
from mace_train.training.step_costs import Costs, Line

COSTS = Costs(
    gradient=Line(0.5, 0.01),
    optimizer_seconds=0.25,
    validation=Line(0.1, 0.001),
    loading_per_edge=0.0,
    memory=Line(1e9, 1e4),
    sizes=(1000, 5000),
)
GRAPHS = partly_labelled(8)
FRAMES = TrainingFrames(GRAPHS, np.array([graph.num_edges for graph in GRAPHS]), 4)
CPU = torch.device("cpu")


def in_turn(costs, *, batch_size, ranks):
    return BatchSampler(
        np.array(costs), batch_size=batch_size, world_size=ranks, shuffle=False
    )


def room(num_bytes):
    return MemoryRoom(int(num_bytes), "so much here")


class Gauge(MemoryGauge):
    """A process of 1 GB whose steps take 10 MB each, in a room of its own size."""

    def __init__(self, size=2e9, *, knows=True):
        self.size, self.knows = size, knows

    def begin(self):
        return 10**9

    def peak(self):
        return 10**9 + 10**7 if self.knows else None

    def room(self, num_processes):
        return room(self.size / num_processes)


def test_as_many_edges_are_safe_as_fill_four_fifths_of_the_memory():
    found = capacity(COSTS, room(2e9))
    assert (found.max_edges, found.is_measured_bound) == (60_000, False)


def test_no_more_is_promised_than_what_was_measured_allows():
    found = capacity(COSTS, room(1e12))
    assert found.max_edges == EXTRAPOLATION * 5000
    assert found.is_measured_bound


def test_nothing_is_promised_where_memory_is_not_known():
    assert capacity(replace(COSTS, memory=None), room(1e9)) is None
    assert capacity(COSTS, None) is None


def test_a_process_that_fills_the_memory_already_is_refused():
    with pytest.raises(ValueError, match=r"of 1\.10 GB \(so much here\).*1\.00 GB already"):
        capacity(COSTS, room(1.1e9))


def test_hours_are_those_of_the_slowest_rank_in_each_step():
    told = Estimate(
        costs=COSTS,
        train=in_turn([100, 40, 60, 60], batch_size=2, ranks=2),
        valid=in_turn([200, 100, 50], batch_size=2, ranks=2),
        max_epochs=10,
    )
    assert told.training_seconds == pytest.approx(0.5 + 1.0 + 0.25 + 0.5 + 0.6 + 0.25)
    assert told.validation_seconds == pytest.approx(0.1 + 0.2 + 0.1 + 0.05)
    assert told.hours == pytest.approx(10 * (3.1 + 0.45) / 3600)
    assert told.rank_hours == pytest.approx(2 * told.hours)


def test_micro_batches_cost_their_fixed_time_each():
    sampler = in_turn([100, 40, 60, 60], batch_size=4, ranks=1)
    whole, cut = (
        Estimate(costs=COSTS, train=sampler, valid=None, max_epochs=1, max_edges=bound)
        for bound in (None, 100)
    )
    assert cut.workload.parts_per_step == 3
    assert cut.training_seconds - whole.training_seconds == pytest.approx(2 * 0.5)
    assert whole.validation_seconds == 0


def test_ranks_that_wait_are_told_why_and_what_helps():
    def told(costs):
        sampler = in_turn(costs, batch_size=2, ranks=2)
        return Estimate(costs=COSTS, train=sampler, valid=None, max_epochs=1).imbalance()

    assert told([100, 96]) is None
    text = told([100, 50])
    assert "25 % of the time: with 1 frames a rank" in text
    assert "one frame cannot be cut (largest 100 edges, mean 75)" in text
    assert "More frames a rank help" in text


def test_the_largest_batch_is_what_fits_and_unknown_without_memory():
    sampler = in_turn([1000] * 20, batch_size=2, ranks=2)
    told = Estimate(costs=COSTS, train=sampler, valid=None, max_epochs=1)
    assert told.largest_batch_per_rank is None
    fits = capacity(COSTS, room(1.28e9 + 5e7))  # 6,400 edges
    assert replace(told, capacity=fits).largest_batch_per_rank == 6


def measured(**options):
    model = PairPotential().double()
    costs = measure(
        model,
        UniversalLoss(1.0, 10.0, 100.0),
        optimizer=Optimizer(),
        frames=FRAMES,
        device=CPU,
        room=room(2e9),
        **options,
    )
    return model, costs


def test_measuring_ends_by_itself_and_leaves_the_model_as_it_is():
    before = PairPotential().double().state_dict()
    model, costs = measured(gauge=Gauge())
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert 2 <= len(costs.sizes) <= 12
    assert list(costs.sizes) == sorted(costs.sizes)
    assert costs.gradient.at(1000) > 0
    assert costs.memory.fixed >= 1e9


def test_this_process_can_be_measured():
    _, costs = measured()
    assert costs.validation.at(100) > 0


def resolve(num_processes=1):
    return resolve_max_edges(
        PairPotential().double(),
        UniversalLoss(1.0, 10.0, 100.0),
        optimizer=Optimizer(),
        frames=FRAMES,
        device=CPU,
        num_processes=num_processes,
    )


def test_auto_becomes_a_number_that_is_logged_with_its_reasons(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    monkeypatch.setattr(module, "memory_gauge", lambda device: Gauge(1.3e9))
    found = resolve()
    assert found > FRAMES.edge_counts.max()
    assert f"data.max_edges=auto: {found}" in caplog.text
    assert "80 % of 1.30 GB, so much here" in caplog.text


def test_auto_is_refused_where_memory_cannot_be_measured(monkeypatch):
    monkeypatch.setattr(module, "memory_gauge", lambda device: Gauge(knows=False))
    with pytest.raises(ValueError, match=r"set data\.max_edges to a number, or to null"):
        resolve()


def test_too_many_processes_for_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(module, "memory_gauge", lambda device: Gauge(2e9))
    with pytest.raises(ValueError, match="fewer processes on this machine"):
        resolve(num_processes=2)
