"""The one door to cuequivariance: sums of products of rows, for its segmented polynomials.

We give it our own coefficients, so that none of its conventions of groups, irreps and
normalization come in, and weights and files stay what they are. Every coefficient is a term
of its own: the one form that its CUDA kernels (method ``uniform_1d``) take, and that its
method in plain torch runs just so on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from mace_train.model.backends import CUEQUIVARIANCE_IS_MISSING


@dataclass(frozen=True)
class Operand:
    """An input or the output: rows, one behind the other in the last axis of a tensor.

    Attributes:
        num_rows: Number of rows.
        has_channels: Whether a row has a number for each channel, or one for all of them.
    """

    num_rows: int
    has_channels: bool = True


@dataclass(frozen=True)
class Products:
    """Terms of one order.

    Attributes:
        factors: Which inputs are multiplied; one that stands twice is squared.
        rows: For each term the row of each factor, then that of the output.
        coefficients: The coefficient of each term.
    """

    factors: tuple[int, ...]
    rows: Sequence[tuple[int, ...]]
    coefficients: Sequence[float]


def cuequivariance() -> tuple[ModuleType, ModuleType]:
    """The packages cuequivariance and cuequivariance_torch.

    Raises:
        ValueError: If they are not installed.
    """
    try:  # in here, since they are optional and take a second to import
        import cuequivariance
        import cuequivariance_torch
    except ImportError as error:
        raise ValueError(CUEQUIVARIANCE_IS_MISSING) from error
    return cuequivariance, cuequivariance_torch


def sum_of_products(
    inputs: Sequence[Operand],
    output: Operand,
    products: Sequence[Products],
    *,
    channels: int,
    device: torch.device,
) -> nn.Module:
    """An operation that multiplies rows channel by channel, and adds up the terms.

    It is called as `cuequivariance_torch.SegmentedPolynomial` is, and is no part of a
    model, whose state dict would otherwise hold its coefficients.

    Args:
        inputs: The inputs.
        output: The output.
        products: The terms.
        channels: Number of channels.
        device: Where it runs: with CUDA kernels, or in plain torch anywhere else.

    Raises:
        ValueError: If cuequivariance is not installed.
    """
    cue, cue_torch = cuequivariance()
    operands = [_segments(cue, operand, channels) for operand in (*inputs, output)]
    operations = [
        ((*terms.factors, len(inputs)), _tensor_product(cue, operands, terms))
        for terms in products
        if terms.rows
    ]
    polynomial = cue.SegmentedPolynomial(operands[:-1], operands[-1:], operations)
    method = "uniform_1d" if device.type == "cuda" else "naive"
    return cue_torch.SegmentedPolynomial(polynomial, method=method).to(device)


def _segments(cue: ModuleType, operand: Operand, channels: int) -> Any:
    segment = (channels,) if operand.has_channels else ()
    return cue.SegmentedOperand(ndim=len(segment), segments=[segment] * operand.num_rows)


def _tensor_product(cue: ModuleType, operands: Sequence[Any], terms: Products) -> Any:
    taken = [operands[place] for place in (*terms.factors, -1)]
    subscripts = ",".join("u" * operand.ndim for operand in taken)
    tensor_product = cue.SegmentedTensorProduct.from_subscripts(subscripts)
    for place, operand in enumerate(taken):
        for segment in operand.segments:
            tensor_product.add_segment(place, segment)
    for rows, coefficient in zip(terms.rows, terms.coefficients):
        tensor_product.add_path(*rows, c=coefficient)
    return tensor_product
