from dataclasses import replace

import numpy as np
import pytest

from mace_train.checkpoints.probes import make_probes
from mace_train.exports.comparison import (
    MAX_STORED,
    compare,
    comparison_graphs,
    predict_model,
)
from mace_train.exports.export_format import FLOAT64_TOLERANCE, Tolerance


def compared(model, change, tolerance=FLOAT64_TOLERANCE):
    graphs = comparison_graphs(model, None)
    expected = predict_model(model, graphs)
    return compare(graphs, expected, [change(p) for p in expected], tolerance=tolerance)


def test_structures_cover_all_elements_heads_and_boundaries(small_model):
    model = small_model(heads=("a", "b", "c"), atomic_numbers=list(range(1, 90)))
    graphs = comparison_graphs(model, None)
    assert {int(n) for g in graphs for n in g.atomic_numbers} == set(range(1, 90))
    assert {int(graph.head) for graph in graphs} == {0, 1, 2}
    boundaries = {tuple(graph.pbc[0].tolist()) for graph in graphs}
    assert boundaries == {(True,) * 3, (True, True, False), (False,) * 3}
    assert min(graph.num_nodes for graph in graphs) == 1
    assert all(graph.num_edges for graph in graphs if graph.num_nodes > 1)


def test_every_head_is_compared_though_there_are_more_than_frames(small_model):
    heads = [f"head {number}" for number in range(12)]
    graphs = comparison_graphs(small_model(heads=heads, atomic_numbers=[14]), None)
    assert {int(graph.head) for graph in graphs} == set(range(12))


def test_stored_frames_come_first_and_made_ones_have_what_they_lack(small_model):
    model = small_model()
    crystals = [g for g in comparison_graphs(model, None) if bool(g.pbc.all())]
    only_hydrogen_and_oxygen = [g for g in crystals if 14 not in g.atomic_numbers]
    probes = make_probes(model, only_hydrogen_and_oxygen * (MAX_STORED + 5))
    graphs = comparison_graphs(model, probes)
    first = only_hydrogen_and_oxygen[0]
    for graph in graphs[:MAX_STORED]:
        assert graph.positions.equal(first.positions)
    rest = {int(n) for g in graphs[MAX_STORED:] for n in g.atomic_numbers}
    assert 14 in rest


def test_forces_of_made_structures_tell_models_apart(small_model):
    model = small_model()
    largest = [
        float(np.abs(prediction.forces).max())
        for prediction in predict_model(model, comparison_graphs(model, None))
    ]
    assert sum(force > 1e-3 for force in largest) >= len(largest) - 1  # not of one atom


def test_equal_predictions_have_no_problem(small_model):
    comparison = compared(small_model(), lambda prediction: prediction)
    assert comparison.problems == []
    assert comparison.deviation == {"energy": 0.0, "forces": 0.0, "stress": 0.0}
    assert comparison.num_elements == 3


@pytest.mark.parametrize("name", ["energy", "forces", "stress"])
@pytest.mark.parametrize("amount", [1e-8, np.nan, np.inf])
def test_any_quantity_that_differs_is_a_problem_with_its_frame(small_model, name, amount):
    def change(prediction):
        value = getattr(prediction, name)
        return (
            prediction if value is None else replace(prediction, **{name: value + amount})
        )

    (problem,) = compared(small_model(), change).problems
    assert problem.startswith(f"{name} differ by ")
    assert "frame " in problem
    assert "allowed: " in problem


@pytest.mark.parametrize("amount", [1e-8, np.nan])
def test_one_wrong_frame_among_right_ones_is_found(small_model, amount):
    def change(prediction):
        is_lone_atom = len(prediction.forces) == 1
        return (
            replace(prediction, energy=prediction.energy + amount)
            if is_lone_atom
            else prediction
        )

    (problem,) = compared(small_model(), change).problems
    assert problem.startswith("energy differ by ")


def test_what_a_file_does_not_give_is_said(small_model):
    comparison = compared(small_model(), lambda given: replace(given, stress=None))
    assert comparison.problems == []
    assert comparison.deviation["stress"] is None
    assert "not given" in comparison.table()


def test_the_limit_grows_with_the_largest_value(small_model):
    tolerance = Tolerance(absolute=1e-10, relative=1e-3)
    comparison = compared(small_model(), lambda given: given, tolerance)
    for name, allowed in comparison.allowed.items():
        assert allowed == pytest.approx(1e-10 + 1e-3 * comparison.largest[name])


def test_the_table_shows_each_quantity_with_unit_deviation_and_limit(small_model):
    table = compared(small_model(), lambda given: replace(given, energy=given.energy + 2.5))
    energy = next(line for line in table.table().splitlines() if "energy (eV)" in line)
    assert "2.50e+00" in energy
    assert f"{table.allowed['energy']:.2e}" in energy
