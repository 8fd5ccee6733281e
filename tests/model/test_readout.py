import torch

from mace_train.model.radial import SILU_NORMALIZATION
from mace_train.model.readout import GatedReadout, LinearReadout


def test_a_linear_readout_gives_the_energy_of_the_atoms_head():
    readout = LinearReadout(4, num_heads=2)
    scalars, head = torch.randn(1, 3, 4), torch.tensor([0, 1, 1])
    columns = readout.linear.weight.view(4, 2) / 2
    expected = (scalars[0] * columns[:, head].T).sum(1)
    torch.testing.assert_close(readout(scalars, head), expected)


def test_a_gated_readout_uses_the_hidden_units_of_the_atoms_head():
    readout = GatedReadout(4, 3, num_heads=2)
    scalars, head = torch.randn(1, 3, 4), torch.tensor([0, 1, 1])
    first = readout.linear_1.weight.view(4, 2, 3) / 2
    last = readout.linear_2.weight.view(2, 3, 2) / 6**0.5
    expected = []
    for atom, index in enumerate(head.tolist()):
        hidden = torch.nn.functional.silu(scalars[0, atom] @ first[:, index])
        expected.append(hidden @ last[index, :, index] * SILU_NORMALIZATION)
    torch.testing.assert_close(readout(scalars, head), torch.stack(expected))
