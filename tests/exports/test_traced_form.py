"""The form of a model that is traced: it predicts what the model predicts, in any batch."""

import pytest
import torch
from ase import Atoms

from mace_train.exports.traced_form import INPUTS, OUTPUTS, UNKNOWN_ELEMENT, TracedForm
from mace_train.graph import AtomicGraph


def graph_of(frames, model):
    known = {"elements": model.elements, "r_max": model.r_max}
    return AtomicGraph.batch([AtomicGraph.from_atoms(atoms, **known) for atoms in frames])


def inputs_of(graph):
    return [getattr(graph, name) for name in INPUTS]


@pytest.mark.parametrize(
    "changes",
    [{}, {"first_interaction": "plain", "interaction": "density"}],
    ids=["residual", "plain and density"],
)
def test_it_predicts_what_the_model_predicts(changes, small_mace, water, crystal):
    model = small_mace(**changes)
    frames = [water, crystal, Atoms("O"), crystal * (2, 2, 1)]
    graph = graph_of(frames, model)
    expected = model(graph, compute_stress=True)
    found = TracedForm(model)(*inputs_of(graph))
    assert set(found) == set(OUTPUTS)
    for name, value in found.items():
        torch.testing.assert_close(value, getattr(expected, name), atol=1e-12, rtol=1e-12)


def test_many_atoms_of_one_element_and_none_of_another_fill_their_blocks(small_mace):
    """Blocks hold eight atoms: 8, 9 and 17 of an element are where dealing could slip."""
    model = small_mace()
    generator = torch.Generator().manual_seed(3)
    for counts in ((8, 0, 9), (0, 17, 0), (1, 1, 17)):
        symbols = ["H"] * counts[0] + ["O"] * counts[1] + ["Si"] * counts[2]
        places = 8 * torch.rand(len(symbols), 3, generator=generator).numpy()
        atoms = Atoms(symbols, places)[torch.randperm(len(symbols)).tolist()]
        graph = graph_of([atoms], model)
        found = TracedForm(model)(*inputs_of(graph))
        torch.testing.assert_close(found["forces"], model(graph).forces)


def test_the_model_is_left_as_it_is(small_mace):
    model = small_mace()
    before = {name: type(module) for name, module in model.named_modules()}
    TracedForm(model)
    assert before == {name: type(module) for name, module in model.named_modules()}
    assert model.backend == "auto"
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_an_unknown_element_is_an_error_that_says_so(small_mace, water):
    model = small_mace()
    inputs = inputs_of(graph_of([water], model))
    inputs[1] = torch.tensor([8, 1, 26])
    with pytest.raises(RuntimeError, match="element that the model does not know") as error:
        TracedForm(model)(*inputs)
    assert UNKNOWN_ELEMENT in str(error.value)
