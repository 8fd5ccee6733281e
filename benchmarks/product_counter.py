"""Floating-point operations of all matrix products that torch runs in a block of code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FIRST_FACTOR = {  # its place among the arguments; the second follows
    torch.ops.aten.mm: 0,
    torch.ops.aten.bmm: 0,
    torch.ops.aten.mv: 0,
    torch.ops.aten.addmm: 1,
    torch.ops.aten.addmm_: 1,
    torch.ops.aten._sparse_addmm: 1,
    torch.ops.aten.baddbmm: 1,
    torch.ops.aten.baddbmm_: 1,
}


class ProductCounter(TorchDispatchMode):
    """Counts two operations for each entry of the left factor and column of the right.

    It sees what einsum and linear layers come to, and what runs inside of backward passes
    and custom autograd functions. torch's own `FlopCounterMode` counts the same, but
    stops at `torch.autograd.grad` within a module, and takes sparse factors for dense.

    Attributes:
        operations: Counted so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and count it if it is a product."""
        place = FIRST_FACTOR.get(func.overloadpacket)
        if place is not None:
            left, right = args[place : place + 2]
            columns = right.shape[-1] if right.ndim > 1 else 1
            entries = _num_entries(left) * columns
            if right.layout != torch.strided:
                entries = _num_entries(right) * left.shape[-2]
            self.operations += 2 * entries
        return func(*args, **(kwargs or {}))


def _num_entries(matrix: Tensor) -> int:
    return matrix.numel() if matrix.layout == torch.strided else matrix._nnz()
