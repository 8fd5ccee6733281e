"""`Committee`: one model, or several that predict together, structure after structure.

Floor 2, between the models and the calculator. Each model keeps its own cutoff, elements,
head and precision; what they say is averaged, and how far they differ is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from jaxtyping import Float
from torch import Tensor

from mace_train.elements import ElementTable
from mace_train.model.mace import MACE
from mace_train.skin_list import SkinList

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mace_train.graph import AtomicGraph

_NAMED_ATOMS = 10  # so many atoms a message lists


@dataclass(frozen=True)
class _Member:
    """A model, the place of the head that is asked, and where its graphs come from."""

    model: MACE
    head: int
    skin_list: SkinList

    def graph(self, atoms: Atoms) -> AtomicGraph:
        return self.skin_list.graph(
            atoms.get_positions(),
            atoms.get_atomic_numbers(),
            cell=np.array(atoms.cell.array),
            pbc=atoms.get_pbc(),
            head=self.head,
        )


class Committee:
    """Models that predict together; a single one is a committee of one.

    Args:
        models: The models, in evaluation mode, each on its device.
        names: What to call them in messages.
        head: Name of the head that gives the energy; None if every model has only one.
        skin: Of the neighbor lists, Å; see `SkinList`.

    Attributes:
        models: The models.
        elements: The elements that all of them know.
        r_max: The largest of their cutoffs, Å.
        receptive_field: How far from an atom its neighbors can change its energy, Å.

    Raises:
        ValueError: If there is no model, no common element, or a head that is missing.
    """

    def __init__(
        self,
        models: Sequence[MACE],
        names: Sequence[str],
        *,
        head: str | None,
        skin: float,
    ) -> None:
        if not models:
            raise ValueError("model=[] is an empty committee: give at least one model")
        self.models = list(models)
        self.elements = _common_elements(models, names)
        self.r_max = max(model.r_max for model in models)
        self.receptive_field = max(
            model.r_max * model.architecture.num_interactions for model in models
        )
        lists: dict[Any, SkinList] = {}
        self._members = []
        for model, name in zip(models, names):
            parameter = next(model.parameters())
            key = (model.elements, model.r_max, parameter.dtype, parameter.device)
            if key not in lists:
                lists[key] = SkinList(
                    elements=model.elements,
                    r_max=model.r_max,
                    skin=skin,
                    dtype=parameter.dtype,
                    device=parameter.device,
                )
            place = _place_of_head(model.heads, head, name)
            self._members.append(_Member(model, place, lists[key]))

    @property
    def num_searches(self) -> int:
        """How many searches for neighbors there were, of all lists together."""
        return sum(
            {id(m.skin_list): m.skin_list.num_searches for m in self._members}.values()
        )

    def predict(self, atoms: Atoms, *, forces: bool, stress: bool) -> dict[str, Any]:
        """ASE's results: means, and with several models their standard deviations.

        The deviations are those of the population, the root of the mean square distance
        from the mean: ``energy_std``, ``forces_std`` of each component and ``stress_std``.

        Args:
            atoms: The structure.
            forces: Whether forces are wanted.
            stress: Whether the stress is wanted as well; it needs a cell with a volume.

        Raises:
            ValueError: If an element is unknown to a model, a number is not finite, or the
                cell does not span the periodic directions.
        """
        self._require_elements(atoms)
        said: list[dict[str, Any]] = []
        with torch.no_grad():  # forces are computed all the same
            for member in self._members:
                graph = member.graph(atoms)
                prediction = member.model(
                    graph,
                    compute_forces=forces or stress,
                    compute_stress=stress,
                    create_graph=False,
                )
                energies = _array(prediction.node_energies)
                results = {"energy": float(energies.sum()), "energies": energies}
                if prediction.forces is not None:
                    results["forces"] = _array(prediction.forces)
                if prediction.stress is not None:
                    full = _array(prediction.stress)[0]
                    results["stress"] = full_3x3_to_voigt_6_stress(full)
                _require_finite(results, graph, atoms)
                said.append(results)
        return said[0] if len(said) == 1 else _mean_and_spread(said)

    def descriptors(
        self, atoms: Atoms, *, invariants_only: bool, num_layers: int | None
    ) -> list[Float[np.ndarray, "nodes features"]]:
        """Node features of each model; see `MACECalculator.get_descriptors`."""
        self._require_elements(atoms)
        found = []
        for member in self._members:
            layouts = member.model.layouts
            if num_layers is not None and not 1 <= num_layers <= len(layouts):
                raise ValueError(
                    f"num_layers={num_layers} must be 1 to {len(layouts)}, the number of "
                    "layers of the model"
                )
            graph = member.graph(atoms)
            with torch.no_grad():
                features = member.model(graph, compute_forces=False)
            by_layer = features.node_features.split([layout.dim for layout in layouts], 1)
            parts = [
                part[:, : layout.channels] if invariants_only else part
                for part, layout in zip(by_layer[:num_layers], layouts)
            ]
            found.append(_array(torch.cat(parts, dim=1)))
            _require_finite({"descriptors": found[-1]}, graph, atoms)
        return found

    def hessian(self, atoms: Atoms) -> Float[np.ndarray, "coordinates coordinates"]:
        """Mean second derivative of the energy by positions, eV/Å^2, symmetric."""
        self._require_elements(atoms)
        size = 3 * len(atoms)
        total = np.zeros((size, size))
        for member in self._members:
            graph = member.graph(atoms)
            prediction = member.model(graph, compute_hessian=True, create_graph=False)
            assert prediction.hessian is not None
            hessian = _array(prediction.hessian).reshape(size, size)
            _require_finite({"Hessian": hessian}, graph, atoms)
            total += hessian
        return (total + total.T) / (2 * len(self._members))

    def _require_elements(self, atoms: Atoms) -> None:
        known = np.isin(atoms.numbers, self.elements.atomic_numbers)
        if known.all():
            return
        places = np.flatnonzero(~known)
        symbols = sorted({_symbol(int(z)) for z in atoms.numbers[places]})
        who = "the model, which has" if len(self.models) == 1 else "all models, which share"
        rest = len(places) - _NAMED_ATOMS
        raise ValueError(
            f"element {', '.join(symbols)} is not known to {who} {len(self.elements)} "
            f"elements: {' '.join(self.elements.symbols)}. Its atoms are number "
            + ", ".join(map(str, places[:_NAMED_ATOMS]))
            + (f" and {rest} more" if rest > 0 else "")
        )


def _common_elements(models: Sequence[MACE], names: Sequence[str]) -> ElementTable:
    sets = [set(model.elements.atomic_numbers) for model in models]
    common = set.intersection(*sets)
    if not common:
        known = "; ".join(
            f"{name} knows {' '.join(model.elements.symbols)}"
            for model, name in zip(models, names)
        )
        raise ValueError(f"the models of the committee have no element in common: {known}")
    return ElementTable.containing(common)


def _place_of_head(heads: Sequence[str], head: str | None, name: str) -> int:
    names = list(heads)
    if head is None and len(names) == 1:
        return 0
    if head is None:
        raise ValueError(f"{name} has several heads: give head= one of {names}")
    if head not in names:
        raise ValueError(f"{name} has no head {head!r}: give head= one of {names}")
    return names.index(head)


def _symbol(number: int) -> str:
    known = 0 <= number < len(chemical_symbols)
    return chemical_symbols[number] if known else f"with atomic number {number}"


def _mean_and_spread(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name in said[0]:
        values = np.stack([one[name] for one in said])
        results[name] = values.mean(axis=0)
        if name != "energies":
            results[f"{name}_std"] = values.std(axis=0)
    for name in ("energy", "energy_std"):
        results[name] = float(results[name])
    return results


def _require_finite(results: dict[str, Any], graph: AtomicGraph, atoms: Atoms) -> None:
    """Refuse NaN and infinity, with the nearest atoms, which are the usual cause."""
    wrong = [name for name, value in results.items() if not np.isfinite(value).all()]
    if not wrong:
        return
    formula = atoms.get_chemical_formula()
    message = f"what the model says of {formula} is not finite ({', '.join(wrong)})"
    if graph.num_edges == 0:
        raise ValueError(f"{message}: look at the model's weights")
    sender, receiver = graph.edge_index
    shifts = graph.unit_shifts @ graph.cell[0]
    vectors = graph.positions[receiver] - graph.positions[sender] + shifts
    lengths = vectors.norm(dim=1)
    edge = int(lengths.argmin())
    ends = [
        f"{int(atom)} ({atoms.symbols[int(atom)]})" for atom in graph.edge_index[:, edge]
    ]
    raise ValueError(
        f"{message}. Its nearest atoms are {' and '.join(ends)}, "
        f"{float(lengths[edge]):.4g} Å apart: move them apart, or look at the model's "
        "weights if that is no small distance"
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()
