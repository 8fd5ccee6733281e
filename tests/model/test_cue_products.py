import sys

import pytest
import torch
from optional_backends import NEEDS_CUEQUIVARIANCE

from mace_train.model.cue_products import Operand, Products, cuequivariance, sum_of_products

INPUTS = [Operand(2), Operand(3, has_channels=False)]
OUTPUT = Operand(2)
# a1 s2 to the first row, -3 a0^2 to the second and a0 a1 s0 to the first.
PRODUCTS = [
    Products((0, 1), [(1, 2, 0)], [1.0]),
    Products((0, 0), [(0, 0, 1)], [-3.0]),
    Products((0, 0, 1), [(0, 1, 0, 0)], [0.5]),
    Products((0, 0, 0), [], []),
]


@NEEDS_CUEQUIVARIANCE
def test_terms_are_multiplied_channel_by_channel_and_added_up():
    cpu = torch.device("cpu")
    operation = sum_of_products(INPUTS, OUTPUT, PRODUCTS, channels=4, device=cpu)
    a = torch.randn(5, 2, 4, dtype=torch.float64)
    s = torch.randn(5, 3, dtype=torch.float64)
    [found] = operation([a.flatten(1), s])
    first = a[:, 1] * s[:, 2:] + 0.5 * a[:, 0] * a[:, 1] * s[:, :1]
    torch.testing.assert_close(found, torch.cat([first, -3 * a[:, 0] ** 2], dim=1))


@NEEDS_CUEQUIVARIANCE
@pytest.mark.parametrize(("device", "method"), [("cpu", "naive"), ("cuda", "uniform_1d")])
def test_a_gpu_runs_its_kernels_and_a_cpu_plain_torch(device, method, monkeypatch):
    class Recorded(torch.nn.Module):
        def __init__(self, polynomial, *, method):
            super().__init__()
            self.given = polynomial, method

        def to(self, device):
            self.device = device
            return self

    monkeypatch.setattr(cuequivariance()[1], "SegmentedPolynomial", Recorded)
    made = sum_of_products(
        INPUTS, OUTPUT, PRODUCTS, channels=4, device=torch.device(device)
    )
    polynomial, taken = made.given
    assert (made.device, taken) == (torch.device(device), method)
    # What method uniform_1d demands: one mode for all, and coefficients without modes.
    assert [operand.ndim for operand in polynomial.operands] == [1, 0, 1]
    for _, terms in polynomial.operations:
        assert terms.coefficient_subscripts == ""
    assert polynomial.inputs[0].segments == ((4,), (4,))


@pytest.mark.parametrize("absent", ["cuequivariance", "cuequivariance_torch"])
def test_without_the_package_it_says_what_to_install(absent, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)
    if absent == "cuequivariance":
        monkeypatch.setitem(sys.modules, "cuequivariance_torch", None)
    with pytest.raises(ValueError, match=r"pip install 'mace-train\[cuequivariance\]'"):
        sum_of_products(INPUTS, OUTPUT, PRODUCTS, channels=4, device=torch.device("cpu"))
