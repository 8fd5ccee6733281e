"""The end of hand-written derivatives: a third one raises, and is never taken for zero."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

_Gradients = tuple[Tensor | None, ...]


def last_derivative(backward: Callable[..., _Gradients]) -> Callable[..., _Gradients]:
    """Mark a ``backward`` whose result may not be differentiated any more.

    PyTorch's ``once_differentiable`` raises only in ``Tensor.backward``, and only where the
    direction has a gradient. Elsewhere a sum with other terms would silently miss it.
    """

    @wraps(backward)
    def marked(ctx: Any, *directions: Tensor | None) -> _Gradients:
        with torch.no_grad():
            gradients = backward(ctx, *directions)
        if not torch.is_grad_enabled():
            return gradients
        return _End.apply(len(gradients), *gradients, *directions, *ctx.saved_tensors)

    return marked


class _End(Function):
    """Hands on gradients, and stands in the graph between them and all they depend on."""

    @staticmethod
    def forward(_: Any, count: int, *given: Tensor | None) -> _Gradients:
        return tuple(None if g is None else g.view_as(g) for g in given[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor | None) -> None:  # noqa: ARG004 - torch's signature
        raise RuntimeError(
            "the chunked backend has no third derivatives: set model.backend to 'plain'"
        )
