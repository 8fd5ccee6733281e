"""`ErrorSums`: MAE and RMSE against numpy, whatever the batches, labels present only."""

import numpy as np
import pytest
import torch
from pair_potential import PairPotential, partly_labelled

from mace_train.graph import AtomicGraph
from mace_train.training.metrics import RESULT_KEYS, ErrorSums

FRAMES = partly_labelled(12)
TOLERANCE = 1e-12  # float64, relative


@pytest.fixture(scope="module")
def model():
    return PairPotential().double().eval()


def _summed(model, size) -> ErrorSums:
    sums = ErrorSums()
    for start in range(0, len(FRAMES), size):
        batch = AtomicGraph.batch(FRAMES[start : start + size])
        sums.add(model(batch, compute_stress=True), batch)
    return sums


def _expected(model):
    """The eight numbers, frame by frame."""
    errors = {"energy_per_atom": [], "forces": [], "stress": []}
    for frame in FRAMES:
        prediction, labels = model(frame, compute_stress=True), frame.labels
        if labels.energy_weight:
            energy = (prediction.energy - labels.energy) / frame.num_nodes
            errors["energy_per_atom"].append(energy)
        if labels.forces_weight:
            errors["forces"].append((prediction.forces - labels.forces).flatten())
        if labels.stress_weight:
            errors["stress"].append((prediction.stress - labels.stress).flatten())
    results = {}
    for name, parts in errors.items():
        values = torch.cat(parts).detach().numpy()
        results[f"{name}_mae"] = np.abs(values).mean()
        results[f"{name}_rmse"] = np.sqrt((values**2).mean())
    sizes = {"num_frames": len(FRAMES), "num_atoms": sum(f.num_nodes for f in FRAMES)}
    return results | sizes


@pytest.mark.parametrize("batch_size", [1, 5, 12])
def test_errors_are_those_of_the_set_for_any_batch_size(model, batch_size):
    results = _summed(model, batch_size).results()
    assert tuple(results) == RESULT_KEYS
    assert results == pytest.approx(_expected(model), rel=TOLERANCE)


def test_sums_of_parts_merge_into_those_of_the_set(model):
    halves = ErrorSums(), ErrorSums()
    for part, frames in zip(halves, (FRAMES[:5], FRAMES[5:])):
        batch = AtomicGraph.batch(frames)
        part.add(model(batch, compute_stress=True), batch)
    halves[0].merge(halves[1])
    assert halves[0].results() == pytest.approx(_summed(model, 12).results(), rel=TOLERANCE)


def test_a_missing_label_gives_none_and_not_zero(model):
    frame = partly_labelled(12)[2]  # a molecule: no stress
    sums = ErrorSums()
    sums.add(model(frame, compute_stress=True), frame)
    assert sums.results()["stress_mae"] is None
    assert sums.results()["stress_rmse"] is None
    assert sums.results()["forces_mae"] > 0
    assert set(ErrorSums().results().values()) == {None, 0}


def test_a_property_that_was_not_predicted_has_no_error(model):
    sums = ErrorSums()
    sums.add(model(FRAMES[0], compute_forces=False), FRAMES[0])
    assert sums.results()["forces_mae"] is None
    assert sums.results()["energy_per_atom_mae"] is not None


def test_an_empty_batch_changes_nothing(model):
    sums, empty = _summed(model, 4), AtomicGraph.empty()
    before = sums.results()
    sums.add(model(empty, compute_stress=True), empty)
    assert sums.results() == before


def test_float32_errors_are_summed_in_float64():
    sums = ErrorSums()
    sums.add_errors("forces", torch.full((1000, 3), 0.1, dtype=torch.float32))
    sums.add_errors("forces", torch.full((1, 3), 1e8, dtype=torch.float32))
    expected = (1e8 * 3 + 3000 * np.float64(np.float32(0.1))) / 3003
    assert sums.results()["forces_mae"] == pytest.approx(expected, rel=1e-14)


def test_all_reduce_of_one_process_changes_nothing(model):
    sums = _summed(model, 4)
    before = sums.results()
    sums.all_reduce()
    assert sums.results() == before
