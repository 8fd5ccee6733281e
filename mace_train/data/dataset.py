"""`GraphDataset`: frames of a store as graphs with labels, neighbors found on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from mace_train.data.frame import Frame
from mace_train.data.mixed_store import ONLY_SET, SetRole, role_of
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph, Labels
from mace_train.micro_batches import MicroBatches
from mace_train.parcel import send_in_one_block

for _kind in (AtomicGraph, MicroBatches):  # what workers send
    send_in_one_block(_kind)


class GraphDataset(Dataset[AtomicGraph]):
    """Map-style dataset over some frames of a store.

    Neighbor lists are made here, that is in the loader's worker processes.

    Args:
        store: The frames.
        indices: Places in the store; items follow this order.
        elements: The model's elements.
        r_max: Cutoff in Å.
        dtype: Floating-point type of graphs and labels; energies are in float64 always.
    """

    def __init__(
        self,
        store: FrameStore,
        indices: np.ndarray,
        *,
        elements: ElementTable,
        r_max: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.store = store
        self.indices = np.asarray(indices, np.int64)
        self.elements = elements
        self.r_max = r_max
        self.dtype = dtype

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> AtomicGraph:
        """The graph of one frame; ``labels.frame_index`` is its place in the store."""
        place = int(self.indices[item])
        frame = self.store.frame(place)
        role = role_of(self.store, place)
        return AtomicGraph.from_arrays(
            frame.positions,
            frame.atomic_numbers,
            cell=frame.cell,
            pbc=frame.pbc,
            elements=self.elements,
            r_max=self.r_max,
            dtype=self.dtype,
            head=role.head,
            labels=frame_labels(frame, place=place, dtype=self.dtype, role=role),
        )

    def collate(self, graphs: Sequence[AtomicGraph]) -> AtomicGraph:
        """Join the graphs of a batch; no graphs at all make an empty one, with labels."""
        graph = AtomicGraph.batch(graphs) if graphs else AtomicGraph.empty(self.dtype)
        return graph.with_tables()


def frame_labels(
    frame: Frame, *, place: int, dtype: torch.dtype, role: SetRole = ONLY_SET
) -> Labels:
    """Reference values of one frame, energies in float64; absent ones are 0 of weight 0."""
    forces = np.zeros((frame.num_atoms, 3)) if frame.forces is None else frame.forces
    stress = np.zeros((3, 3)) if frame.stress is None else frame.stress

    def weight(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype)

    return Labels(
        energy=torch.tensor([frame.energy or 0.0], dtype=torch.float64),
        forces=torch.as_tensor(forces, dtype=dtype),
        stress=torch.as_tensor(stress, dtype=dtype).reshape(1, 3, 3),
        energy_weight=weight(frame.energy_weight * bool(role.energy_weight)),
        forces_weight=weight(frame.forces_weight * bool(role.forces_weight)),
        stress_weight=weight(frame.stress_weight * bool(role.stress_weight)),
        frame_weight=weight(*(frame.frame_weight * factor for factor in role.weights))[
            None
        ],
        frame_index=torch.tensor([place]),
    )
