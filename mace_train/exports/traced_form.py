"""`TracedForm`: a model as a function of tensors alone, which torch can trace.

Floor 3. A trace keeps operations and forgets Python: it must not look at a value to decide
what comes next. So every edge is a pair of its own here, and atoms are dealt to blocks of
one element by sorting, into as many blocks as there can be at most.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from mace_train.graph import AtomicGraph
from mace_train.index_tables import ElementBlocks, IndexTables, NeighborRows
from mace_train.model.derivatives import differentiated
from mace_train.model.linear import ElementLinear
from mace_train.model.mace import MACE

INPUTS = {
    "positions": "(nodes, 3), Å, in the file's dtype",
    "atomic_numbers": "(nodes,), int64, 1..118",
    "cell": "(graphs, 3, 3), Å, in the file's dtype: lattice vectors in rows, zeros where "
    "there are none",
    "edge_index": "(2, edges), int64: row 0 the sender, row 1 the receiver; every pair of "
    "atoms closer than r_max in both directions; longer edges count nothing",
    "unit_shifts": "(edges, 3), in the file's dtype: whole cell vectors that the edge "
    "crosses; its vector is positions[receiver] - positions[sender] + unit_shifts @ cell",
    "graph_index": "(nodes,), int64, ascending: the structure that each atom belongs to",
}
"""What a traced model is called with, in order."""

OUTPUTS = {
    "energy": "(graphs,), eV, with the atoms' own energies (E0s), in float64",
    "node_energies": "(nodes,), eV: each atom's share of the energy, in float64",
    "forces": "(nodes, 3), eV/Å",
    "stress": "(graphs, 3, 3), eV/Å^3, positive in tension; 0 where the cell has no volume",
}
"""What it gives, a dictionary."""

UNKNOWN_ELEMENT = (
    "atomic_numbers holds an element that the model does not know: metadata.json in the "
    "file lists its elements"
)

_ATOMS_PER_BLOCK = 8
_NUM_NUMBERS = 119


class TracedForm(nn.Module):
    """Energies, forces and stress of a model as a function of the tensors in `INPUTS`.

    Nothing in it depends on values, and sizes enter as symbols, so that a trace serves any
    number of atoms, edges and structures.

    Args:
        model: With one head; it is copied, and the copy has no gradients by parameters.
    """

    index_by_number: Tensor

    def __init__(self, model: MACE) -> None:
        super().__init__()
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.model.backend = "plain"
        for interaction in self.model.interactions:
            interaction.skip_tp = _TracedElementLinear(
                cast("ElementLinear", interaction.skip_tp)
            )
        index = torch.full((_NUM_NUMBERS,), -1)
        index[list(model.elements.atomic_numbers)] = torch.arange(len(model.elements))
        self.register_buffer("index_by_number", index)

    def forward(
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        cell: Tensor,
        edge_index: Tensor,
        unit_shifts: Tensor,
        graph_index: Tensor,
    ) -> dict[str, Tensor]:
        """What is named in `OUTPUTS`, given what is named in `INPUTS`."""
        element = self.index_by_number.index_select(0, atomic_numbers)
        torch._assert_async((element >= 0).all(), UNKNOWN_ELEMENT)
        graph = AtomicGraph(
            positions=positions,
            atomic_numbers=atomic_numbers,
            element_index=element,
            cell=cell,
            pbc=torch.ones_like(cell[:, 0], dtype=torch.bool),
            edge_index=edge_index,
            unit_shifts=unit_shifts,
            graph_index=graph_index,
            head=torch.zeros_like(cell[:, 0, 0], dtype=torch.int64),
            tables=_tables(edge_index, unit_shifts, element, len(self.model.elements)),
        )
        prediction = differentiated(
            self.model.energies, graph, ("forces", "stress"), create_graph=False
        )
        return {name: getattr(prediction, name) for name in OUTPUTS}


class _TracedElementLinear(nn.Module):
    """`ElementLinear` without a change of shape that torch cannot prove for all sizes."""

    def __init__(self, linear: ElementLinear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, features: Tensor, blocks: ElementBlocks) -> Tensor:
        linear = self.linear
        channels = (linear.layout_in.channels, linear.layout_out.channels)
        scale = 1 / math.sqrt(channels[0] * linear.num_elements)
        weights = linear.weight.view(
            len(linear.degrees), channels[0], linear.num_elements, channels[1]
        )
        matrices = weights.index_select(2, blocks.block).permute(0, 2, 1, 3) * scale
        row, column = blocks.slot // _ATOMS_PER_BLOCK, blocks.slot % _ATOMS_PER_BLOCK
        in_blocks = dict(zip(linear.layout_in.degrees, linear.layout_in.split(features)))
        mapped = []
        for degree in linear.layout_out.degrees:
            if degree not in linear.degrees:
                shape = (2 * degree + 1, features.shape[1], channels[1])
                mapped.append(features.new_zeros(shape))
                continue
            matrix = matrices[linear.degrees.index(degree)]
            product = in_blocks[degree][:, blocks.atom] @ matrix
            mapped.append(product[:, row, column])
        return torch.cat(mapped)


def _tables(
    edge_index: Tensor, unit_shifts: Tensor, element: Tensor, num_elements: int
) -> IndexTables:
    """Index tables in which every edge is a pair of its own."""
    edge = torch.arange(edge_index.shape[1], device=edge_index.device)
    ones = torch.ones_like(unit_shifts[:, 0])
    unused = NeighborRows(receiver=edge, first=edge, sender=edge, pair=edge, sign=ones)
    return IndexTables(
        pair_edge=edge,
        edge_pair=edge,
        edge_sign=ones,
        neighbors=unused,
        neighbors_by_element=unused,
        elements=_padded_blocks(element, num_elements),
    )


def _padded_blocks(element: Tensor, num_elements: int) -> ElementBlocks:
    """Deal atoms to blocks; n atoms of an element need no more than n // size + 1."""
    size, device = _ATOMS_PER_BLOCK, element.device
    # Never one alone: torch would take a size of one for a fact, and not for an example.
    num_blocks = element.shape[0] // size + max(num_elements, 2)
    nodes = torch.arange(element.shape[0], device=device)
    none = torch.zeros(num_elements, dtype=torch.int64, device=device)
    counts = none.index_add(0, element, torch.ones_like(element))
    blocks_needed = (counts + size - 1) // size
    end = torch.cumsum(blocks_needed, 0)
    first_slot = (end - blocks_needed) * size
    first_atom = torch.cumsum(counts, 0) - counts
    order = torch.argsort(element, stable=True)
    in_order = element.index_select(0, order)
    place = nodes - (first_atom - first_slot).index_select(0, in_order)
    slot = torch.zeros_like(element).index_copy(0, order, place)
    blocks = torch.arange(num_blocks, device=device)
    block = torch.searchsorted(end, blocks, right=True).clamp(max=num_elements - 1)
    empty = torch.zeros(num_blocks, size, dtype=torch.int64, device=device)
    return ElementBlocks(
        present=torch.arange(num_elements, device=device),
        counts=(),
        order=order,
        block=block,
        atom=empty.index_put((slot // size, slot % size), nodes),
        slot=slot,
    )
