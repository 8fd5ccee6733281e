"""The edges of a graph as the model works on them.

Everything the model knows of the geometry enters through `pair_vectors`, so forces and
stress are derivatives by them. The two edges between two atoms are one pair: lengths,
radial functions and spherical harmonics are computed once for both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from mace_train.graph import AtomicGraph
from mace_train.index_tables import IndexTables


@dataclass
class GradientScope:
    """What a running backward pass is for.

    Autograd asks an operation for the gradients by all its inputs, wanted or not. While
    forces are computed, `parameters` is False, and those by parameters are left out.
    """

    parameters: bool = True


@dataclass(frozen=True)
class Neighborhoods:
    """Pairs of near atoms, and the directed edges that they stand for.

    Attributes:
        pair_sender: One atom of each pair.
        pair_receiver: The other one.
        pair_vectors: Receiver minus sender, periodic shift included, Å.
        sender: Atom that each edge comes from.
        receiver: Atom that each edge goes to.
        element_index: Place of each atom's element in the model's table.
        tables: Edges by pair and by receiver, atoms by element.
        scope: Which gradients a backward pass is for.
    """

    pair_sender: Int[Tensor, " pairs"]
    pair_receiver: Int[Tensor, " pairs"]
    pair_vectors: Float[Tensor, "pairs 3"]
    sender: Int[Tensor, " edges"]
    receiver: Int[Tensor, " edges"]
    element_index: Int[Tensor, " nodes"]
    tables: IndexTables
    scope: GradientScope = field(default_factory=GradientScope)

    @classmethod
    def of(cls, graph: AtomicGraph) -> Neighborhoods:
        """Take the edges of a graph, with its index tables or with ones made here."""
        tables = graph.with_tables().tables
        assert tables is not None
        sender, receiver = graph.edge_index.index_select(1, tables.pair_edge)
        cells = graph.cell.index_select(0, graph.graph_index.index_select(0, receiver))
        unit_shifts = graph.unit_shifts.index_select(0, tables.pair_edge)
        vectors = (
            graph.positions.index_select(0, receiver)
            - graph.positions.index_select(0, sender)
            + (unit_shifts[:, :, None] * cells).sum(1)
        )
        all_senders, all_receivers = graph.edge_index
        return cls(
            pair_sender=sender,
            pair_receiver=receiver,
            pair_vectors=vectors,
            sender=all_senders,
            receiver=all_receivers,
            element_index=graph.element_index,
            tables=tables,
        )

    @property
    def num_nodes(self) -> int:
        """Number of atoms."""
        return self.element_index.shape[0]

    def of_edges(self, values: Float[Tensor, "pairs ..."]) -> Float[Tensor, "edges ..."]:
        """Give each edge what its pair has."""
        return values.index_select(0, self.tables.edge_pair)

    def sum_to_receivers(
        self, values: Float[Tensor, "edges ..."]
    ) -> Float[Tensor, "nodes ..."]:
        """Sum a quantity of edges over the neighbors of each atom."""
        zeros = values.new_zeros(self.num_nodes, *values.shape[1:])
        return zeros.index_add(0, self.receiver, values)
