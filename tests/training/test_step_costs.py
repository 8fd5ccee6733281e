import numpy as np
import pytest
import torch

from mace_train.training.step_costs import Costs, Line, Sample, fit_line, grow_samples

GRADIENT, VALIDATION, MEMORY = Line(0.02, 3e-5), Line(0.01, 1e-5), Line(5e8, 7000.0)


def sample(edges, *, memory=True):
    return Sample(
        edges=edges,
        gradient_seconds=GRADIENT.at(edges),
        optimizer_seconds=0.004,
        validation_seconds=VALIDATION.at(edges),
        loading_seconds=2e-6 * edges,
        bytes_before=int(4e8),
        peak_bytes=int(MEMORY.at(edges)) if memory else None,
    )


def close(line, expected):
    return np.allclose([line.fixed, line.per_edge], [expected.fixed, expected.per_edge])


def test_costs_of_exact_samples_are_the_lines_that_made_them():
    costs = Costs.of([sample(edges) for edges in (1000, 2100, 3900, 8000)])
    assert close(costs.gradient, GRADIENT)
    assert close(costs.validation, VALIDATION)
    assert close(costs.memory, MEMORY)
    assert costs.optimizer_seconds == 0.004
    assert costs.loading_per_edge == pytest.approx(2e-6)
    assert costs.sizes == (1000, 2100, 3900, 8000)


def test_one_sample_gives_costs_through_the_memory_held_before():
    costs = Costs.of([sample(1000)])
    assert costs.memory.fixed == 4e8
    assert costs.memory.at(1000) == pytest.approx(MEMORY.at(1000))
    assert costs.gradient.at(1000) == pytest.approx(GRADIENT.at(1000))


def test_memory_that_was_not_measured_is_not_known():
    assert Costs.of([sample(1000, memory=False)]).memory is None
    mixed = Costs.of([sample(1000, memory=False), sample(2000), sample(4000)])
    assert close(mixed.memory, MEMORY)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 4.0, 9.0], (0.0, None)),  # would begin below zero
        ([3.0, 2.0, 1.0], (2.0, 0.0)),  # would fall
        ([0.0, 0.0, 0.0], (0.0, 0.0)),
    ],
)
def test_a_line_is_nowhere_negative(values, expected):
    line = fit_line([1, 2, 3], values)
    assert line.fixed == expected[0]
    assert line.per_edge > 0 if expected[1] is None else line.per_edge == expected[1]


class Clock:
    """A time that passes only in samples, of 1 ms an edge."""

    def __init__(self, *, full_at=None):
        self.time = 0.0
        self.full_at = full_at

    def now(self):
        return self.time

    def sample(self, edges):
        if self.full_at is not None and edges >= self.full_at:
            raise torch.OutOfMemoryError("full")
        self.time += 1e-3 * edges
        return sample(edges)


def grown(clock, **options):
    settings = {"first": 100, "most": None, "seconds": 1e9, "max_bytes": None} | options
    samples = grow_samples(clock.sample, now=clock.now, **settings)
    return [one.edges for one in samples]


def test_sizes_double_until_the_next_would_end_too_late():
    assert grown(Clock(), seconds=1.6) == [100, 200, 400, 800]
    assert grown(Clock(), seconds=0.1) == [100]


def test_sizes_stay_within_what_is_of_interest_and_half_of_the_memory():
    assert grown(Clock(), most=450) == [100, 200, 400]
    assert grown(Clock(), most=10) == [100, 200]
    assert grown(Clock(), max_bytes=1.25e9) == [100 * 2**n for n in range(9)]


def test_a_full_gpu_ends_the_growth_and_is_explained_if_nothing_fits():
    assert grown(Clock(full_at=400)) == [100, 200]
    with pytest.raises(ValueError, match="100 edges, a single frame, does not fit"):
        grown(Clock(full_at=100))
