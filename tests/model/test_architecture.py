import json

import jaxtyping
import pytest

from mace_train.model import MACE


@pytest.fixture
def arguments(small_mace):
    return small_mace().hyperparameters


def test_hyperparameters_survive_json(arguments):
    assert json.loads(json.dumps(arguments)) == arguments


def test_single_numbers_stand_for_one_head(arguments):
    assert arguments["scale"] == [0.8]
    assert arguments["atomic_energies"] == [[-3.1, -7.2, -5.4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"first_interaction": "dense"}, "first_interaction='dense' must be one of plain"),
        ({"distance_transform": "soft"}, "distance_transform='soft' must be one of none"),
        ({"product_basis": "reduced"}, "must be one of own, file"),
        ({"max_ell": 5}, "max_ell=5 must be 0 to 4"),
        ({"correlation": 4}, "correlation=4 must be 1 to 3"),
        ({"num_interactions": 0}, "num_interactions=0 must be at least 1"),
        ({"r_max": 0.0}, "r_max=0.0 must be a positive"),
        ({"avg_num_neighbors": float("nan")}, "avg_num_neighbors=nan must be a positive"),
        ({"radial_mlp": []}, "radial_mlp=\\[\\] must list"),
        ({"hidden_irreps": "4x0e + 4x2e", "max_ell": 1}, "reaches l=2, beyond max_ell=1"),
        ({"hidden_irreps": "4x0e + 2x1o"}, "same number of channels"),
        ({"readout_hidden_irreps": "4x0e + 4x1o"}, "must be scalars"),
        (
            {"atomic_numbers": [1, 8]},
            "\\[3\\] numbers, but there are 1 heads and 2 elements",
        ),
        ({"scale": [1.0, 2.0]}, "scale=\\[1.0, 2.0\\] must have one number for each"),
        ({"heads": ["a", "a"]}, "each once"),
    ],
)
def test_what_does_not_fit_is_refused(change, message, arguments, monkeypatch):
    # The type checks of tests would see wrong literals before the model itself does.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        MACE(**{**arguments, **change})
