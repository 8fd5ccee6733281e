"""Every kind of model obeys every physical law."""

import physical_laws
import pytest

VARIANTS = {
    "vectors": {},
    "scalars": {"hidden_irreps": "4x0e"},
    "tensors": {"hidden_irreps": "2x0e+2x1o+2x2e", "max_ell": 3},
    "tensors without vectors": {
        "hidden_irreps": "2x0e+2x2e",
        "max_ell": 4,
        "correlation": 2,
    },
    "one layer": {"num_interactions": 1},
    "three layers": {"num_interactions": 3, "correlation": 2},
    "pair features": {"correlation": 1},
    "plain first": {"first_interaction": "plain"},
    "density": {"first_interaction": "density", "interaction": "density_residual"},
    "agnesi and zbl": {
        "first_interaction": "density",
        "interaction": "density_residual",
        "distance_transform": "agnesi",
        "pair_repulsion": True,
    },
    "two heads": {
        "heads": ["a", "b"],
        "atomic_energies": [[-3.1, -7.2, -5.4], [-3.0, -7.0, -5.0]],
        "scale": [0.8, 0.7],
        "shift": [0.1, 0.2],
    },
}


@pytest.mark.parametrize("law", physical_laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_obeys(variant, law, small_mace):
    law(small_mace(**VARIANTS[variant]))


@pytest.mark.parametrize("law", physical_laws.LAWS, ids=lambda law: law.__name__)
def test_a_model_obeys_in_any_backend(law, small_mace):
    """The other tests of this file run the one that `auto` takes."""
    law(small_mace(backend="plain", first_interaction="density"))
