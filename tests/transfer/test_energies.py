"""Other E0s add a constant for each atom, and nothing else."""

import numpy as np
import pytest
import torch

from mace_train.transfer.energies import with_atomic_energies

ROUNDING = 1e-10  # eV


@pytest.mark.parametrize("head", ["pbe", "scan"])
def test_energies_move_by_the_difference_of_the_e0s_of_the_head(
    small_model, graph_of, head
):
    model = small_model(heads=("pbe", "scan"))
    old = np.array(model.hyperparameters["atomic_energies"])
    energies = old + np.array([[0.5, -1.0, 2.0], [10.0, 20.0, 40.0]])
    changed = with_atomic_energies(model, energies.tolist())
    assert changed.hyperparameters["atomic_energies"] == energies.tolist()
    graph = graph_of(model, head=head)  # three H, three O, two Si
    before, after = model(graph), changed(graph)
    expected = {"pbe": 3 * 0.5 - 3 * 1.0 + 2 * 2.0, "scan": 30.0 + 60.0 + 80.0}[head]
    assert (after.energy - before.energy).item() == pytest.approx(expected, abs=ROUNDING)
    assert torch.equal(after.interaction_energy, before.interaction_energy)
    assert torch.equal(after.forces, before.forces)


def test_the_model_itself_is_left_as_it_is(small_model):
    model = small_model()
    before = model.hyperparameters
    with_atomic_energies(model, [[1.0, 2.0, 3.0]])
    assert model.hyperparameters == before


@pytest.mark.parametrize("energies", [[[1.0, 2.0]], [[1.0, 2.0, 3.0]] * 2, []])
def test_there_is_one_e0_for_each_head_and_element(small_model, energies):
    with pytest.raises(ValueError, match="the model has 3 elements and the heads Default"):
        with_atomic_energies(small_model(), energies)


def test_e0s_that_are_not_finite_are_refused(small_model):
    with pytest.raises(ValueError, match=r"must be finite numbers of eV.*nan"):
        with_atomic_energies(small_model(), [[1.0, float("nan"), 3.0]])
