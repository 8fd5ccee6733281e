import pytest
import torch
from ase.build import bulk, molecule
from tiny_models import ONE_HEAD

from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE
from mace_train.model.rebuild import load_weights, rebuild_model


@pytest.fixture
def tiny_model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return MACE(**ONE_HEAD).double().eval()


@pytest.fixture
def graphs(tiny_model):
    """A crystal and a molecule."""
    crystal = bulk("Si", "diamond", 5.43)
    crystal.rattle(0.1, seed=1)
    return [
        AtomicGraph.from_atoms(frame, elements=tiny_model.elements, r_max=tiny_model.r_max)
        for frame in (crystal, molecule("H2O"))
    ]


def test_a_model_is_rebuilt_bit_for_bit(tiny_model, graphs):
    again = rebuild_model(tiny_model.hyperparameters, tiny_model.state_dict())
    for graph in graphs:
        expected, found = tiny_model(graph), again(graph)
        assert torch.equal(found.energy, expected.energy)
        assert torch.equal(found.forces, expected.forces)
    assert not again.training


def test_rebuilding_leaves_the_random_state_as_it_was(tiny_model):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    rebuild_model(tiny_model.hyperparameters, tiny_model.state_dict())
    assert torch.equal(torch.rand(3), expected)


def test_weights_of_a_float32_file_are_exact_in_float64(tiny_model, graphs):
    """Only the weights are rounded: constants are rebuilt, not cast up."""
    single = {name: value.float() for name, value in tiny_model.state_dict().items()}
    double = rebuild_model(tiny_model.hyperparameters, single, dtype=torch.float64)
    rounded = {name: value.float().double() for name, value in single.items()}
    expected = rebuild_model(tiny_model.hyperparameters, rounded)
    assert torch.equal(double(graphs[0]).forces, expected(graphs[0]).forces)


def test_a_float32_model_comes_back_as_one_with_exact_e0s(tiny_model):
    single = tiny_model.float()
    again = rebuild_model(single.hyperparameters, single.state_dict())
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    e0s = again.atomic_energies_fn.atomic_energies
    assert e0s.tolist() == ONE_HEAD["atomic_energies"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale_shift.scale"), r"missing: scale_shift\.scale"),
        (lambda s: s.update(extra=torch.zeros(1)), "not known: extra"),
        (
            lambda s: s.update({"node_embedding.linear.weight": torch.zeros(5)}),
            r"of another shape: node_embedding\.linear\.weight \(5,\) instead of \(12,\)",
        ),
        (lambda s: s.clear(), r"missing: .*, .*, .* and \d+ more"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_copied(
    tiny_model, change, message
):
    state = {name: value + 1 for name, value in tiny_model.state_dict().items()}
    change(state)
    before = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(tiny_model, state)
    for name, value in tiny_model.state_dict().items():
        assert torch.equal(value, before[name])


def test_another_architecture_is_named(tiny_model):
    wider = MACE(**{**tiny_model.hyperparameters, "hidden_irreps": "8x0e + 8x1o"})
    with pytest.raises(ValueError, match=r"hidden_irreps='8x0e.*3 elements.*another shape"):
        load_weights(wider, tiny_model.state_dict())


def test_an_argument_of_another_version_is_named(tiny_model):
    arguments = {**tiny_model.hyperparameters, "num_dragons": 3}
    with pytest.raises(ValueError, match=r"not one of this version.*num_dragons"):
        rebuild_model(arguments, tiny_model.state_dict())


def test_a_width_that_the_weights_do_not_have_takes_no_memory(tiny_model):
    arguments = {**tiny_model.hyperparameters, "hidden_irreps": "1000000000x0e"}
    with pytest.raises(ValueError, match=r"1000000000 channels and 3 elements.* 12 "):
        rebuild_model(arguments, tiny_model.state_dict())
