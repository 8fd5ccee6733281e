"""A model of fewer elements predicts for these what it did among more."""

import pytest
import torch

from mace_train.checkpoints.mace_torch import load_official
from mace_train.model.rebuild import rebuild_model
from mace_train.transfer.elements import keep_elements

EXACT = 1e-10  # eV, eV/Å, eV/Å^3: rounding
FIVE = (1, 6, 8, 14, 26)


def compare(model, kept, graph_of, same_prediction, *, head=None):
    changed = keep_elements(model, kept)
    expected = model(graph_of(model, sorted(kept), head=head), compute_stress=True)
    found = changed(graph_of(changed, sorted(kept), head=head), compute_stress=True)
    same_prediction(found, expected, error=EXACT)
    return changed


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", ["plain", "residual", "density", "density_residual"])
@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_predictions_for_the_kept_elements_are_what_they_were(
    small_model, graph_of, same_prediction, kind, layers, backend
):
    model = small_model(
        atomic_numbers=FIVE,
        first_interaction=kind,
        interaction=kind,
        num_interactions=layers,
        backend=backend,
    )
    changed = compare(model, (26, 8), graph_of, same_prediction)
    assert changed.elements.atomic_numbers == (8, 26)
    assert changed.num_parameters < model.num_parameters


@pytest.mark.parametrize("head", ["pbe", "scan"])
def test_each_head_keeps_its_own_energies(small_model, graph_of, same_prediction, head):
    model = small_model(atomic_numbers=FIVE, heads=("pbe", "scan"), pair_repulsion=True)
    changed = compare(model, (1, 14, 26), graph_of, same_prediction, head=head)
    every = model.hyperparameters["atomic_energies"]
    expected = [[row[0], row[3], row[4]] for row in every]
    assert changed.hyperparameters["atomic_energies"] == expected


@pytest.mark.parametrize("kept", [(14,), FIVE])
def test_one_element_alone_and_all_of_them(small_model, graph_of, same_prediction, kept):
    compare(small_model(atomic_numbers=FIVE), kept, graph_of, same_prediction)


def test_a_product_basis_of_a_file_is_kept(small_model, graph_of, same_prediction):
    own = small_model(atomic_numbers=FIVE, correlation=3)
    free = {**own.hyperparameters, "product_basis": "file"}
    basis = small_model(atomic_numbers=FIVE, correlation=3, product_basis="file")
    state = {**basis.state_dict(), **own.state_dict()}
    model = rebuild_model(free, state)
    # Fewer paths than ours: a basis that only the file knows.
    for name in list(state):
        if name.endswith("U_matrix_3") and "contractions.0." in name:
            state[name] = state[name][..., :2]
            weights = name.replace("U_matrix_3", "weights_max")
            state[weights] = state[weights][:, :2]
    changed = rebuild_model(free, state)
    for one in (model, changed):
        kept = compare(one, (6, 8), graph_of, same_prediction)
        assert kept.hyperparameters["product_basis"] == "file"


@pytest.mark.parametrize("name", ["mp0_small", "mp0_medium", "mp0b3"])
def test_official_files(official_path, graph_of, same_prediction, name):
    model = load_official(official_path(name), dtype=torch.float64)
    compare(model, (8, 14), graph_of, same_prediction)


def test_the_model_itself_is_left_as_it_is(small_model):
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = keep_elements(model.float(), [8])
    assert next(changed.parameters()).dtype == torch.float32
    assert model.elements.atomic_numbers == (1, 8, 14)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name].to(value.dtype)), name


def test_unknown_elements_are_named_with_those_there_are(small_model):
    with pytest.raises(ValueError, match=r"does not know Li, Fe, 200: it knows H, O, Si\."):
        keep_elements(small_model(), [26, 8, 3, 200])


def test_some_element_must_be_left(small_model):
    with pytest.raises(ValueError, match="no element to keep: name some of H, O, Si"):
        keep_elements(small_model(), [])
