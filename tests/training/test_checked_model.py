import pytest
import torch
from small_crystals import R_MAX, make_frame, small_model

from mace_train.calculator import MACECalculator
from mace_train.training.checked_model import potential_of


def test_a_model_brings_cutoff_layers_and_dtype():
    potential = potential_of(small_model())
    assert (potential.r_max, potential.num_interactions) == (R_MAX, 2)
    assert potential.receptive_field == 2 * R_MAX
    assert potential.dtype == "float64"
    assert potential_of(small_model().to(torch.float32)).dtype == "float32"


def test_its_energy_is_that_of_the_calculator_with_this_head():
    model, atoms = small_model(heads=("a", "b")), make_frame(0)
    energies = [potential_of(model, head=head).energy(atoms) for head in ("a", "b")]
    atoms.calc = MACECalculator(model, head="b")
    assert energies[1] == atoms.get_potential_energy()
    assert energies[0] != energies[1]
    with pytest.raises(ValueError, match="several heads"):
        potential_of(model)
