"""The edges of a graph as the model works on them: neighborhoods of atoms, in equal blocks.

Everything the model knows of the geometry enters through `edge_vectors`, so forces and
stress are derivatives by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from mace_train.graph import AtomicGraph
from mace_train.model.blocks import deal

# An empty slot holds an edge from an atom to itself at this distance, Å: beyond r_max and
# beyond any sum of covalent radii (5.2 Å), so that all radial functions are exactly zero
# there.
_BEYOND_EVERY_CUTOFF = 100.0


@dataclass(frozen=True)
class Neighborhoods:
    """Directed edges, dealt into blocks of one receiver each.

    Attributes:
        sender: Atom that each edge comes from.
        receiver: Atom that each edge goes to; the same within a block.
        block_size: Number of edges in a block.
        block_receiver: The receiver of each block.
        edge_vectors: Receiver minus sender, periodic shift included, Å.
        num_nodes: Number of atoms.
    """

    sender: Int[Tensor, " edges"]
    receiver: Int[Tensor, " edges"]
    block_size: int
    block_receiver: Int[Tensor, " blocks"]
    edge_vectors: Float[Tensor, "edges 3"]
    num_nodes: int

    @classmethod
    def of(cls, graph: AtomicGraph) -> Neighborhoods:
        """Deal the edges of a graph; empty slots hold edges that contribute nothing."""
        sender, receiver = graph.edge_index
        size = _block_size(graph.num_edges, graph.num_nodes)
        blocks = deal(receiver, graph.num_nodes, size=size)
        receivers = blocks.group.repeat_interleave(size)
        senders = receivers.index_copy(0, blocks.slot, sender)
        cells = graph.cell.index_select(0, graph.graph_index.index_select(0, receiver))
        far_away = graph.positions.new_tensor([_BEYOND_EVERY_CUTOFF, 0.0, 0.0])
        shifts = far_away.expand(blocks.num_slots, 3).index_copy(
            0, blocks.slot, (graph.unit_shifts[:, :, None] * cells).sum(1)
        )
        vectors = (
            graph.positions.index_select(0, receivers)
            - graph.positions.index_select(0, senders)
            + shifts
        )
        return cls(senders, receivers, size, blocks.group, vectors, graph.num_nodes)

    def sum_to_receivers(
        self, values: Float[Tensor, "edges ..."]
    ) -> Float[Tensor, "nodes ..."]:
        """Sum a quantity of edges over the neighbors of each atom."""
        zeros = values.new_zeros(self.num_nodes, *values.shape[1:])
        return zeros.index_add(0, self.receiver, values)

    def sum_blocks(self, values: Float[Tensor, "blocks ..."]) -> Float[Tensor, "nodes ..."]:
        """Sum a quantity of blocks over the blocks of each atom."""
        zeros = values.new_zeros(self.num_nodes, *values.shape[1:])
        return zeros.index_add(0, self.block_receiver, values)


def _block_size(num_edges: int, num_nodes: int) -> int:
    """A size that leaves few slots empty: about a quarter of the mean neighbor count."""
    neighbors = num_edges / max(num_nodes, 1)
    return 4 if neighbors < 24 else 8 if neighbors < 48 else 16
