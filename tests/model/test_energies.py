import torch
from torch import nn

from mace_train.model.energies import AtomicEnergies, ScaleShift, sum_over_atoms


def test_e0s_are_looked_up_by_head_and_element():
    e0s = AtomicEnergies([[-1.0, -2.0], [-10.0, -20.0]])
    found = e0s(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    assert found.tolist() == [-1, -2, -20]


def test_e0s_stay_exact_whatever_dtype_the_model_is_brought_to():
    for change in (nn.Module.float, nn.Module.double, lambda m: m.to(torch.float32)):
        energies = AtomicEnergies([[-35000.1]])
        assert change(energies) is energies
        assert energies.atomic_energies.dtype == torch.float64
        assert energies.atomic_energies.item() == -35000.1
        assert "atomic_energies" in energies.state_dict()
    moved = AtomicEnergies([[0.1]]).to("meta")
    assert moved.atomic_energies.device.type == "meta"


def test_scale_and_shift_are_those_of_the_head():
    found = ScaleShift([2.0, 3.0], [0.5, 0.25])(
        torch.tensor([1.0, 1.0]), torch.tensor([0, 1])
    )
    assert found.tolist() == [2.5, 3.25]


def test_energies_of_atoms_add_up_in_their_structures():
    graph_index = torch.tensor([0, 0, 2])
    assert sum_over_atoms(torch.tensor([1.0, 2, 4]), graph_index, 3).tolist() == [3, 0, 4]
