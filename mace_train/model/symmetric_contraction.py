"""The product basis: many-body features as equivariant polynomials of the message.

Products of the message with itself, coupled by generalized Clebsch-Gordan coefficients U,
are weighted by element and channel (arXiv:2206.07697, Eq. 10 and 11). U is sparse and, for
equal factors, redundant: each monomial is evaluated once, then the independent polynomials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mace_train.model.backends import ChosenBackend
from mace_train.model.chunked_contraction import ContractionTask, contract
from mace_train.model.cue_contraction import contraction_operation, cue_contract
from mace_train.model.homogeneous_forms import gradient_forms
from mace_train.model.irreps import Layout
from mace_train.model.linear import Linear
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.polynomials import (
    Polynomials,
    product_polynomials,
    symmetrized,
    tabulated,
)
from mace_train.model.wigner import product_basis


class Contraction(nn.Module):
    """Weights of all paths that end in one degree, for each element and channel.

    Args:
        max_ell: Highest degree of the message.
        degree: Degree of the result.
        correlation: Highest order of the products.
        num_elements: Number of elements in the model's table.
        channels: Number of channels.
        basis_from_file: Whether U is part of the state dict, to take any basis from a file.
    """

    def __init__(
        self,
        max_ell: int,
        degree: int,
        *,
        correlation: int,
        num_elements: int,
        channels: int,
        basis_from_file: bool,
    ) -> None:
        super().__init__()
        self.degree = degree
        self.correlation = correlation
        self.basis_from_file = basis_from_file
        orders = range(1, correlation + 1)
        self.polynomials = [
            product_polynomials(max_ell, degree, correlation=order) for order in orders
        ]
        if basis_from_file:
            for order in orders:
                basis = torch.from_numpy(product_basis(max_ell, degree, correlation=order))
                # Official files leave out the axis of the result's components for scalars.
                squeezed = basis[0] if degree == 0 else basis
                self.register_buffer(f"U_matrix_{order}", squeezed)
        # Highest order first, as in official files: weights_max, weights.0, weights.1.
        highest, *lower = [
            nn.Parameter(torch.randn(num_elements, paths, channels) / paths)
            for paths in (p.mixing.shape[1] for p in reversed(self.polynomials))
        ]
        self.weights_max = highest
        self.weights = nn.ParameterList(lower)
        self._register_mixing()

    def path_weights(self) -> list[Tensor]:
        """Weights (elements, paths, channels) of each order, lowest first."""
        return [*reversed(list(self.weights)), self.weights_max]

    def forward(
        self, elements: Int[Tensor, " elements"] | None = None
    ) -> Float[Tensor, "polynomials elements channels"]:
        """Weights of the independent polynomials of all orders, lowest first.

        Args:
            elements: Places of the elements in the model's table; None for all.
        """
        weights = []
        for order, weight in enumerate(self.path_weights(), start=1):
            if elements is not None:
                weight = weight.index_select(0, elements)
            mixing = self.get_buffer(f"mixing_{order}").to(weight.dtype)
            weights.append(torch.einsum("qp,epc->qec", mixing, weight))
        return torch.cat(weights)

    def _register_mixing(self) -> None:
        for order, polynomials in enumerate(self.polynomials, start=1):
            mixing = torch.from_numpy(polynomials.mixing).to(self.weights_max.device)
            self.register_buffer(f"mixing_{order}", mixing, persistent=False)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take a file's own basis, with however many paths, before its weights are read."""
        names = [f"{prefix}U_matrix_{order + 1}" for order in range(self.correlation)]
        if self.basis_from_file and all(name in state_dict for name in names):
            self._adopt_basis([state_dict[name].detach() for name in names])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # type: ignore[arg-type]

    def _adopt_basis(self, bases: list[Tensor]) -> None:
        self.polynomials = []
        for order, (basis, weight) in enumerate(zip(bases, self.path_weights()), start=1):
            own = self.get_buffer(f"U_matrix_{order}")
            self.register_buffer(f"U_matrix_{order}", own.new_zeros(basis.shape))
            full = basis[None] if self.degree == 0 else basis
            self.polynomials.append(symmetrized(full.cpu().double().numpy()))
            shape = (weight.shape[0], basis.shape[-1], weight.shape[2])
            weight.data = weight.data.new_zeros(shape)
        self._register_mixing()


class SymmetricContraction(nn.Module):
    """All polynomials of the message up to an order, weighted by element and channel.

    Args:
        max_ell: Highest degree of the message.
        layout_out: Degrees and channels of the result.
        correlation: Highest order of the products, the body order minus one.
        num_elements: Number of elements in the model's table.
        basis_from_file: Whether U is part of the state dict; see `Contraction`.
    """

    coefficients: Tensor
    entry_weights: Tensor

    def __init__(
        self,
        max_ell: int,
        layout_out: Layout,
        *,
        correlation: int,
        num_elements: int,
        basis_from_file: bool = False,
    ) -> None:
        super().__init__()
        self.num_components = (max_ell + 1) ** 2
        self.layout_out = layout_out
        self.correlation = correlation
        self.contractions = nn.ModuleList(
            Contraction(
                max_ell,
                degree,
                correlation=correlation,
                num_elements=num_elements,
                channels=layout_out.channels,
                basis_from_file=basis_from_file,
            )
            for degree in layout_out.degrees
        )
        self._register_table()
        if basis_from_file:
            self.register_load_state_dict_post_hook(_renew_table)

    def _register_table(self) -> None:
        contractions = cast("list[Contraction]", list(self.contractions))
        sets = [contraction.polynomials for contraction in contractions]
        table = tabulated(sets, self.num_components)
        device = contractions[0].weights_max.device
        coefficients = torch.from_numpy(table.coefficients).to(device)
        self.register_buffer("coefficients", coefficients, persistent=False)
        for order, factors in enumerate(table.factors, start=2):
            factors = torch.from_numpy(factors).to(device)
            self.register_buffer(f"factors_{order}", factors, persistent=False)
        self._register_forms(sets, device)

    def _register_forms(self, sets: list[list[Polynomials]], device: torch.device) -> None:
        self.forms = gradient_forms(sets)
        entry_weights = torch.from_numpy(self.forms.entry_weights).to(device)
        self.register_buffer("entry_weights", entry_weights, persistent=False)

    def forward(
        self,
        message: Float[Tensor, "harmonics nodes channels"],
        neighborhoods: Neighborhoods,
        *,
        backend: ChosenBackend,
    ) -> list[Float[Tensor, "_ nodes channels"]]:
        """Weighted polynomials of each degree: (2 degree + 1, nodes, channels).

        Args:
            message: One set of channels for every degree up to ``max_ell``.
            neighborhoods: The atoms, by element.
            backend: Implementation.
        """
        if backend == "plain":
            return self._plain(message, neighborhoods.element_index)
        if backend == "cuequivariance":
            return self._cuequivariance(message, neighborhoods.element_index)
        elements = neighborhoods.tables.elements
        weights = torch.cat([c(elements.present) for c in self.contractions])
        entries = self.entry_weights.to(message.dtype) @ weights.transpose(0, 1)
        task = ContractionTask(self.forms, elements, neighborhoods.scope)
        results = contract(task, message, entries)
        return list(self.layout_out.split(results))

    def _plain(
        self,
        message: Float[Tensor, "harmonics nodes channels"],
        element_index: Int[Tensor, " nodes"],
    ) -> list[Float[Tensor, "_ nodes channels"]]:
        products = [message]
        for order in range(2, self.correlation + 1):
            component, rest = self.get_buffer(f"factors_{order}")
            factor = message.index_select(0, component)
            products.append(factor * products[-1].index_select(0, rest))
        monomials = torch.cat(products).flatten(1)
        values = self.coefficients.to(message.dtype) @ monomials
        values = values.view(len(values), *message.shape[1:])

        weights = [contraction() for contraction in self.contractions]
        dims = [2 * degree + 1 for degree in self.layout_out.degrees]
        sizes = [dim * weight.shape[0] for dim, weight in zip(dims, weights)]
        results = []
        for dim, weight, block in zip(dims, weights, values.split(sizes)):
            polynomials = block.view(dim, weight.shape[0], *message.shape[1:])
            of_nodes = weight.index_select(1, element_index)
            results.append((polynomials * of_nodes).sum(1))
        return results

    def _cuequivariance(
        self,
        message: Float[Tensor, "harmonics nodes channels"],
        element_index: Int[Tensor, " nodes"],
    ) -> list[Float[Tensor, "_ nodes channels"]]:
        contractions = cast("list[Contraction]", list(self.contractions))
        operation = contraction_operation(
            tuple(tuple(contraction.polynomials) for contraction in contractions),
            self.num_components,
            self.layout_out.channels,
            device=message.device,
        )
        weights = torch.cat([contraction() for contraction in contractions])
        results = cue_contract(operation, message, weights, element_index)
        return list(self.layout_out.split(results))


def _renew_table(contraction: SymmetricContraction, _: object) -> None:
    """Follow a basis that came with a state dict."""
    contraction._register_table()


class ProductBasis(nn.Module):
    """Many-body features of each atom, with the residual of the interaction added.

    Args:
        max_ell: Highest degree of the message.
        layout_out: Degrees and channels of the new node features.
        correlation: Highest order of the products.
        num_elements: Number of elements in the model's table.
        basis_from_file: Whether U is part of the state dict; see `Contraction`.
    """

    def __init__(
        self,
        max_ell: int,
        layout_out: Layout,
        *,
        correlation: int,
        num_elements: int,
        basis_from_file: bool = False,
    ) -> None:
        super().__init__()
        self.symmetric_contractions = SymmetricContraction(
            max_ell,
            layout_out,
            correlation=correlation,
            num_elements=num_elements,
            basis_from_file=basis_from_file,
        )
        channels = layout_out.channels
        self.linear = Linear([channels] * len(layout_out.degrees), channels)

    def forward(
        self,
        message: Float[Tensor, "harmonics nodes channels"],
        residual: Float[Tensor, "components nodes channels"] | None,
        neighborhoods: Neighborhoods,
        *,
        backend: ChosenBackend,
    ) -> Float[Tensor, "components nodes channels"]:
        """New node features (arXiv:2206.07697, Eq. 11)."""
        features = self.linear(
            self.symmetric_contractions(message, neighborhoods, backend=backend)
        )
        return features if residual is None else features + residual
