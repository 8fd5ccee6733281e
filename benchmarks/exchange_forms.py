"""The forms of models that `exchange_peer.py` exchanges, made by either code's constructor.

What an argument is called, and means, stands here once more for both codes, apart from
`mace_train.exports`, which is what is tested.
"""

from __future__ import annotations

import warnings
from typing import Any

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk, molecule  # noqa: E402
from mace import modules  # noqa: E402

# isort: split
from e3nn import o3  # noqa: E402 - after mace, which lets e3nn 0.4.4 load its constants

from mace_train.model.mace import MACE  # noqa: E402

ALL_ELEMENTS = [*range(1, 84), *range(89, 95)]  # those of MACE-MP-0
FEW_ELEMENTS = [1, 6, 8, 14, 26]
RESIDUAL = ("RealAgnosticResidualInteractionBlock",) * 2
DENSITY = (
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)
PLAIN = ("RealAgnosticInteractionBlock", RESIDUAL[1])
KINDS = {
    "RealAgnosticInteractionBlock": "plain",
    "RealAgnosticResidualInteractionBlock": "residual",
    "RealAgnosticDensityInteractionBlock": "density",
    "RealAgnosticDensityResidualInteractionBlock": "density_residual",
}
MEDIUM = "128x0e + 128x1o"
PUBLISHED: dict[str, Any] = {"elements": ALL_ELEMENTS, "r_max": 6.0, "num_bessel": 10}
SMALLER: dict[str, Any] = {"elements": FEW_ELEMENTS, "r_max": 5.0, "num_bessel": 8}
ZBL = {"interactions": DENSITY, "agnesi": True, "zbl": True}

# What differs between forms; `_form` has the rest.
FORMS: dict[str, dict[str, Any]] = {
    "mp-0 small": {**PUBLISHED, "irreps": "128x0e"},
    "mp-0 medium": {**PUBLISHED, "irreps": MEDIUM},
    "mp-0 large": {**PUBLISHED, "irreps": f"{MEDIUM} + 128x2e"},
    "0b3 medium": {**PUBLISHED, "irreps": MEDIUM, **ZBL},
    "tiny": {**SMALLER, "irreps": "16x0e + 16x1o", "max_ell": 2},
    "one layer": {**SMALLER, "irreps": "8x0e + 8x1o", "layers": 1},
    "three layers": {**SMALLER, "irreps": "8x0e + 8x1o", "layers": 3, "correlation": 2},
    "plain first": {**SMALLER, "irreps": "8x0e + 8x1o", "interactions": PLAIN, "p": 6},
    "three heads": {**SMALLER, "irreps": "8x0e + 8x1o", "heads": ["a", "b", "c"], **ZBL},
    "float32": {**SMALLER, "irreps": "16x0e + 16x1o", "dtype": "float32"},
}


def form_of(name: str) -> dict[str, Any]:
    """All that makes a form, in words of neither code."""
    defaults = {
        "max_ell": 3,
        "layers": 2,
        "correlation": 3,
        "p": 5,
        "interactions": RESIDUAL,
        "agnesi": False,
        "zbl": False,
        "heads": ["Default"],
        "dtype": "float64",
    }
    return {**defaults, **FORMS[name]}


def make_theirs(name: str, seed: int) -> torch.nn.Module:
    """A model by mace-torch's constructor, with random weights and numbers."""
    form, rng = form_of(name), np.random.default_rng(seed)
    heads = form["heads"]
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, form["dtype"]))
    first, others = (modules.interaction_classes[kind] for kind in form["interactions"])
    return modules.ScaleShiftMACE(
        r_max=form["r_max"],
        num_bessel=form["num_bessel"],
        num_polynomial_cutoff=form["p"],
        max_ell=form["max_ell"],
        interaction_cls=others,
        interaction_cls_first=first,
        num_interactions=form["layers"],
        num_elements=len(form["elements"]),
        hidden_irreps=o3.Irreps(form["irreps"]),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=rng.normal(-4.0, 2.0, (len(heads), len(form["elements"]))),
        avg_num_neighbors=31.7,
        atomic_numbers=form["elements"],
        correlation=form["correlation"],
        pair_repulsion=form["zbl"],
        distance_transform="Agnesi" if form["agnesi"] else "None",
        radial_MLP=[64, 64, 64],
        heads=heads,
        atomic_inter_scale=rng.uniform(0.5, 1.0, len(heads)),
        atomic_inter_shift=rng.normal(0.0, 0.2, len(heads)),
    )


def make_ours(name: str, seed: int) -> MACE:
    """A model of the same form by our constructor, with other random weights."""
    form, rng = form_of(name), np.random.default_rng(seed)
    heads = form["heads"]
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, form["dtype"]))
    model = MACE(
        hidden_irreps=form["irreps"],
        max_ell=form["max_ell"],
        correlation=form["correlation"],
        num_interactions=form["layers"],
        r_max=form["r_max"],
        num_radial_basis=form["num_bessel"],
        cutoff_p=form["p"],
        radial_mlp=[64, 64, 64],
        readout_hidden_irreps="16x0e",
        first_interaction=KINDS[form["interactions"][0]],
        interaction=KINDS[form["interactions"][1]],
        distance_transform="agnesi" if form["agnesi"] else "none",
        pair_repulsion=form["zbl"],
        atomic_numbers=form["elements"],
        atomic_energies=rng.normal(-4.0, 2.0, (len(heads), len(form["elements"]))).tolist(),
        avg_num_neighbors=31.7,
        scale=rng.uniform(0.5, 1.0, len(heads)).tolist(),
        shift=rng.normal(0.0, 0.2, len(heads)).tolist(),
        heads=heads,
    )
    model.to(getattr(torch, form["dtype"]))
    return model.eval()


def frames(elements: list[int], seed: int) -> list[Atoms]:
    """Crystals, a slab, a molecule and a lone atom, of elements drawn at random."""
    rng = np.random.default_rng(seed)
    made = [
        bulk("NaCl", "rocksalt", 5.2, cubic=True),
        bulk("Fe", "bcc", 2.9).repeat(2),
        bulk("Si", "diamond", 5.4),
        bulk("Al", "fcc", 4.1, cubic=True).repeat((2, 1, 1)),
        molecule("CH3CH2OH"),
        Atoms("O"),
    ]
    made[3].set_cell([8.2, 4.1, 18.0])
    made[3].pbc = (True, True, False)
    for atoms in made:
        atoms.numbers = rng.choice(elements, len(atoms))
        if atoms.pbc.all():
            strain = np.eye(3) + rng.normal(0.0, 0.03, (3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
    return made
