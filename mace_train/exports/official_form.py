"""A model in the words of mace-torch: its constructor's arguments and its state dict.

Floor 3. The inverse of `checkpoints.mace_torch`, in plain values and tensors, so that it
stands and is tested where mace-torch is not installed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mace_train.checkpoints.official_modules import KIND_BY_INTERACTION
from mace_train.model.mace import MACE
from mace_train.model.wigner import product_basis

CLASS_BY_KIND = {
    kind: dotted.rpartition(".")[2] for dotted, kind in KIND_BY_INTERACTION.items()
}
"""mace-torch's class of each kind of interaction."""


def official_arguments(model: MACE) -> dict[str, Any]:
    """Arguments of mace-torch's ``ScaleShiftMACE``, of plain types.

    Irreps are text, interactions are names of classes, and ``gate`` is left out (silu).
    """
    given = model.architecture
    return {
        "r_max": given.r_max,
        "num_bessel": given.num_radial_basis,
        "num_polynomial_cutoff": given.cutoff_p,
        "max_ell": given.max_ell,
        "interaction_cls": CLASS_BY_KIND[given.interaction],
        "interaction_cls_first": CLASS_BY_KIND[given.first_interaction],
        "num_interactions": given.num_interactions,
        "num_elements": len(given.atomic_numbers),
        "hidden_irreps": given.hidden_irreps,
        "MLP_irreps": f"{given.num_readout_hidden}x0e",
        "atomic_energies": given.atomic_energies,
        "avg_num_neighbors": given.avg_num_neighbors,
        "atomic_numbers": given.atomic_numbers,
        "correlation": given.correlation,
        "pair_repulsion": given.pair_repulsion,
        "distance_transform": "Agnesi" if given.distance_transform == "agnesi" else "None",
        "radial_MLP": given.radial_mlp,
        "radial_type": "bessel",
        "heads": given.heads,
        "atomic_inter_scale": given.scale,
        "atomic_inter_shift": given.shift,
        # A basis that is not the full one can only be the reduced one of newer versions.
        "use_reduced_cg": given.product_basis == "file",
    }


def official_state(model: MACE) -> dict[str, Tensor]:
    """Every tensor that an official file holds, but those that follow from others.

    They are copies on the CPU, in the model's dtype; counts and orders are integers.
    """
    given = model.architecture
    dtype = next(model.parameters()).dtype
    cutoff = torch.tensor(given.r_max, dtype=dtype)
    order = torch.tensor(given.cutoff_p, dtype=torch.int32)
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    state |= _product_bases(model, dtype) if given.product_basis == "own" else {}
    state |= {
        "atomic_numbers": torch.tensor(given.atomic_numbers),
        "num_interactions": torch.tensor(given.num_interactions),
        "r_max": cutoff,
        "radial_embedding.bessel_fn.r_max": cutoff,
        "radial_embedding.cutoff_fn.r_max": cutoff,
        "radial_embedding.cutoff_fn.p": order,
    }
    if given.pair_repulsion:
        state["pair_repulsion_fn.p"] = order
    return {name: value.clone() for name, value in state.items()}


def _product_bases(model: MACE, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors U: mace-torch's own would have other signs under another e3nn."""
    given = model.architecture
    bases = {}
    for layer, layout in enumerate(model.layouts):
        for place, degree in enumerate(layout.degrees):
            prefix = f"products.{layer}.symmetric_contractions.contractions.{place}"
            for order in range(1, given.correlation + 1):
                basis = product_basis(given.max_ell, degree, correlation=order)
                basis = basis[0] if degree == 0 else basis  # no axis for a single entry
                bases[f"{prefix}.U_matrix_{order}"] = torch.from_numpy(basis).to(dtype)
    return bases
