"""The symmetric contraction with hand-written first and second derivatives.

It works on the gradients T of homogeneous forms (`homogeneous_forms.py`), which are kept:
they are all that values and forces need. The loops are those of `contraction_kernels.py`.
"""
# Gradients have names here, and autograd calls by position:
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import Function

from mace_train.index_tables import ElementBlocks
from mace_train.model.contraction_kernels import (
    add_entry_gradient,
    add_message_gradient,
    add_second_derivative,
    set_results,
)
from mace_train.model.homogeneous_forms import GradientForms
from mace_train.model.last_derivative import last_derivative
from mace_train.model.neighborhoods import GradientScope


@dataclass(frozen=True)
class ContractionTask:
    """What all passes over a batch share.

    Attributes:
        forms: The product basis.
        elements: The atoms by element.
        scope: Which gradients a backward pass is for.
    """

    forms: GradientForms
    elements: ElementBlocks
    scope: GradientScope

    @property
    def tables(self) -> tuple[Any, np.ndarray, np.ndarray]:
        """The forms, the atoms sorted by element, and where each element begins."""
        forms = self.forms
        rows = (forms.row_result, forms.row_component)
        entries = (forms.entry_row, forms.entry_monomial)
        ends = np.cumsum([0, *self.elements.counts])
        return (forms.factors, rows, entries), self.elements.order.numpy(), ends


def contract(
    task: ContractionTask,
    message: Float[Tensor, "harmonics nodes channels"],
    entries: Float[Tensor, "present entries channels"],
) -> Float[Tensor, "results nodes channels"]:
    """All results of the symmetric contraction, differentiable twice.

    Args:
        task: The product basis and the atoms.
        message: Of the atoms.
        entries: Of D, for each element that is present; they must be made of weights by
            ``GradientForms.entry_weights``, since derivatives rely on their symmetry.
    """
    return _Contraction.apply(task, message.contiguous(), entries.contiguous())


class _Contraction(Function):
    @staticmethod
    def forward(
        ctx: Any, task: ContractionTask, message: Tensor, entries: Tensor
    ) -> Tensor:
        forms, _, num_nodes, channels = task.forms, *message.shape
        gradients = message.new_empty(len(forms.row_result), num_nodes, channels)
        results = message.new_zeros(forms.num_results, num_nodes, channels)
        arrays = (message, entries, gradients, results)
        set_results(*task.tables, *(array.numpy() for array in arrays))
        ctx.task = task
        ctx.save_for_backward(message, entries, gradients)
        return results

    @staticmethod
    def backward(ctx: Any, by_results: Tensor) -> tuple[Tensor | None, ...]:
        wants_entries = ctx.needs_input_grad[2] and ctx.task.scope.parameters
        return None, *_FirstDerivative.apply(
            ctx.task, wants_entries, *ctx.saved_tensors, by_results.contiguous()
        )


class _FirstDerivative(Function):
    """Gradient of <by_results, results> by message and entries."""

    @staticmethod
    def forward(
        ctx: Any, task: ContractionTask, wants_entries: bool, *inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        message, entries, gradients, by_results = inputs
        forms, *atoms = task.tables
        by_message = torch.zeros_like(message)
        by_entries = torch.zeros_like(entries) if wants_entries else None
        arrays = (gradients, by_results, by_message)
        add_message_gradient(forms, *(array.numpy() for array in arrays))
        if by_entries is not None:
            arrays = (message, by_results, by_entries)
            add_entry_gradient(forms, *atoms, *(array.numpy() for array in arrays))
        ctx.task = task
        ctx.save_for_backward(*inputs)
        return by_message, by_entries

    @staticmethod
    @last_derivative
    def backward(
        ctx: Any, dot_message: Tensor, dot_entries: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradient of the first derivative along a direction (the arguments)."""
        message, entries, gradients, by_results = (t.detach() for t in ctx.saved_tensors)
        forms, *atoms = ctx.task.tables
        by_message, by_entries, dot_results = map(
            torch.zeros_like, (message, entries, by_results)
        )
        inputs = (message, entries, gradients, by_results, dot_message.contiguous())
        arrays = (*inputs, by_message, by_entries, dot_results)
        add_second_derivative(forms, *atoms, *(array.numpy() for array in arrays))
        if dot_entries is not None:
            # Along a direction of D: results and T of another D.
            more, changed = torch.empty_like(gradients), torch.zeros_like(by_results)
            arrays = (message, dot_entries.contiguous(), more, changed)
            set_results(forms, *atoms, *(array.numpy() for array in arrays))
            dot_results += changed
            arrays = (more, by_results, by_message)
            add_message_gradient(forms, *(array.numpy() for array in arrays))
        return None, None, by_message, by_entries, None, dot_results
