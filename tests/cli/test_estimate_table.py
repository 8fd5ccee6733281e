import numpy as np
import pytest

from mace_train.cli.estimate_table import duration, estimate_table
from mace_train.cli.planned_ranks import PlannedRanks
from mace_train.data.sampler import BatchSampler
from mace_train.training.estimate import Capacity, Estimate
from mace_train.training.memory import MemoryRoom
from mace_train.training.step_costs import Costs, Line

NUMBERS = {"edges_per_epoch": 1400, "gpu_hours": 12.0, "core_hours": 7.0}
ROOM = MemoryRoom(8 * 10**9, "free of 8 GB of a card")


def told(*, ranks, fits=Capacity(5000, is_measured_bound=False), memory=True, **options):  # noqa: B008
    costs = Costs(
        gradient=Line(0.002, 3e-5),
        optimizer_seconds=0.0,
        validation=Line(0.0, 1e-5),
        loading_per_edge=0.0,
        memory=Line(1e9, 1e4) if memory else None,
        sizes=(1000, 2000),
    )
    sampler = BatchSampler(
        np.array([400, 300, 400, 300]), batch_size=2, world_size=ranks.total
    )
    estimate = Estimate(
        costs=costs, train=sampler, valid=None, max_epochs=100, capacity=fits, **options
    )
    return estimate_table(estimate, ranks, numbers=NUMBERS, room=ROOM)


def test_the_table_tells_memory_the_largest_batch_and_gpu_hours(monkeypatch):
    monkeypatch.setattr(PlannedRanks, "lack_their_gpus", False)
    text = told(ranks=PlannedRanks(2, 1, True, True))
    assert "2 GPUs" in text
    assert "10 kB an edge, and 1.00 GB besides" in text
    assert "30 us an edge, and 2 ms" in text
    assert "5,000 edges (80 % of 8.0 GB, free of 8 GB of a card)" in text
    assert "data.batch_size_per_rank=2 without micro-batches" in text
    assert "12 GPU-hours" in text
    assert "communication between ranks is not included" in text


def test_a_cpu_has_core_hours_and_one_process_does_not_communicate():
    text = told(ranks=PlannedRanks(1, 1, False, True))
    assert "7 core-hours" in text
    assert "this machine's CPU" in text
    assert "communication" not in text


def test_missing_gpus_leave_hours_unknown_and_are_told():
    text = told(ranks=PlannedRanks(4, 16, True, False), fits=None)
    assert "64 GPUs, 4 on each of 16 machines" in text
    assert "hours and GPU-hours are not known here" in text
    assert "about 100,000 edges a GB" in text
    assert "this machine has none, so the steps ran on its CPU" in text
    assert "say trainer.devices=N" in text
    assert "ranks wait" in text  # most of 64 ranks have no frame


def test_what_does_not_fit_is_told_with_a_cure():
    ranks = PlannedRanks(1, 1, False, True)
    small = told(ranks=ranks, fits=Capacity(500, is_measured_bound=False))
    assert "may not fit: set data.max_edges=auto or 500" in small
    none = told(ranks=ranks, fits=Capacity(350, is_measured_bound=True), max_edges=350)
    assert "the largest frame has 400 edges" in none
    assert "times what was measured is the limit" in none
    assert "may not fit" not in none


def test_memory_that_is_not_known_is_said_to_be_so():
    text = told(ranks=PlannedRanks(1, 1, False, True), fits=None, memory=False)
    assert "cannot be measured on this system" in text
    assert "not known here" in text


def test_more_processes_than_cores_are_told():
    assert "take turns on the" in told(ranks=PlannedRanks(100_000, 1, False, True))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.0123 s"), (119.0, "119 s"), (7200.0, "2 h")]
)
def test_durations_are_said_in_a_fitting_unit(seconds, text):
    assert duration(seconds) == text
