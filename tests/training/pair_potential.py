"""A pair potential that stands for MACE where the trainer is tested, and runs with it."""

from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
from ase import Atoms
from torch import nn

from mace_train.data.sampler import BatchSampler
from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph, Labels
from mace_train.micro_batches import MicroBatches
from mace_train.model.derivatives import Prediction
from mace_train.training.callbacks import CheckpointWriter
from mace_train.training.checkpoint_folder import StartingPoint
from mace_train.training.ema import WeightAverage
from mace_train.training.fitting import fit
from mace_train.training.loaders import make_loader
from mace_train.training.loss import UniversalLoss
from mace_train.training.module import MACEModule
from mace_train.training.optim import Optimizer, PlateauSchedule
from mace_train.training.position import go_on
from mace_train.training.resume import read_checkpoint
from mace_train.training.trainer import TrainerSettings

ELEMENTS = ElementTable((3, 8))
R_MAX = 4.0


class PairPotential(nn.Module):
    """Energy of pairs of atoms, a small network of their distance and elements."""

    def __init__(self, *, num_hidden: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.num_hidden = num_hidden
        generator = torch.Generator().manual_seed(seed)
        self.readouts = nn.Sequential(
            nn.Linear(8, num_hidden), nn.SiLU(), nn.Linear(num_hidden, 1)
        )
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
        self.register_buffer("atomic_energies", torch.tensor([[-1.0, -2.0]]))

    @property
    def hyperparameters(self):
        return {
            "num_hidden": self.num_hidden,
            "atomic_numbers": [3, 8],
            "avg_num_neighbors": 5.5,
        }

    def forward(
        self, graph, *, compute_forces=True, compute_stress=False, create_graph=None
    ):
        create_graph = self.training if create_graph is None else create_graph
        with torch.enable_grad():
            positions = graph.positions.detach().requires_grad_()
            strain = torch.zeros_like(graph.cell).requires_grad_()
            symmetric = 0.5 * (strain + strain.transpose(1, 2))
            sender, receiver = graph.edge_index
            of_edge = graph.graph_index[sender]
            vectors = positions[receiver] - positions[sender]
            vectors = vectors + torch.einsum(
                "ei,eij->ej", graph.unit_shifts, graph.cell[of_edge]
            )
            vectors = vectors + torch.einsum("ei,eij->ej", vectors, symmetric[of_edge])
            r = vectors.square().sum(1).sqrt()[:, None]
            centers = torch.linspace(1.0, R_MAX, 6, dtype=r.dtype)
            kinds = graph.element_index[graph.edge_index].to(r.dtype).T
            features = torch.cat([torch.exp(-((r - centers) ** 2)), kinds], dim=1)
            pair = self.readouts(features)[:, 0] * (1 - r[:, 0] / R_MAX) ** 2
            zeros = positions.new_zeros(graph.num_nodes)
            node = zeros.index_add(0, receiver, pair)
            interaction = positions.new_zeros(graph.num_graphs)
            interaction = interaction.index_add(0, graph.graph_index, node)
            node_energies = node + self.atomic_energies[0][graph.element_index]
            energy = positions.new_zeros(graph.num_graphs)
            energy = energy.index_add(0, graph.graph_index, node_energies)
            by_positions, by_strain = torch.autograd.grad(
                interaction.sum(), [positions, strain], create_graph=create_graph
            )
        volume = torch.linalg.det(graph.cell).abs()
        inverse = torch.where(volume > 0, 1 / volume.clamp(min=1e-9), 0)[:, None, None]
        return Prediction(
            energy=energy,
            node_energies=node_energies,
            interaction_energy=interaction,
            node_features=features.new_zeros(graph.num_nodes, 0),
            forces=-by_positions if compute_forces else None,
            stress=by_strain * inverse if compute_stress else None,
        )


def make_frame(index, *, weights=None, dtype=torch.float64) -> AtomicGraph:
    """A random structure of 2 to 5 atoms with all its labels; every third is a molecule."""
    random = np.random.default_rng(index)
    num_atoms = 2 + index % 4
    is_molecule = index % 3 == 2
    cell = np.eye(3) * 3.6 + random.normal(scale=0.1, size=(3, 3))
    atoms = Atoms(
        numbers=random.choice([3, 8], num_atoms),
        positions=random.uniform(0, 3.0, (num_atoms, 3)),
        cell=None if is_molecule else cell,
        pbc=not is_molecule,
    )
    energy_weight, forces_weight, stress_weight = (
        weights if weights is not None else (1.0, 1.0, 0.0 if is_molecule else 1.0)
    )

    def one(value):
        return torch.tensor([value], dtype=dtype)

    def values(size, *shape):
        return torch.as_tensor(random.normal(scale=size, size=shape), dtype=dtype)

    labels = Labels(
        energy=values(1.0, 1) - 1.5 * num_atoms if energy_weight else one(0.0),
        forces=values(1.0, num_atoms, 3) * bool(forces_weight),
        stress=values(0.05, 1, 3, 3) * bool(stress_weight),
        energy_weight=one(energy_weight),
        forces_weight=one(forces_weight),
        stress_weight=one(stress_weight),
        frame_weight=one([1.0, 1.0, 1.0]),
        frame_index=torch.tensor([index]),
    )
    return AtomicGraph.from_arrays(
        atoms.positions,
        atoms.numbers,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        elements=ELEMENTS,
        r_max=R_MAX,
        dtype=dtype,
        labels=labels,
    )


def with_energy(batch, frame_index, energy) -> MicroBatches:
    """The same share with another label for the energy of one frame."""
    graphs = []
    for graph in batch:
        is_meant = graph.labels.frame_index == frame_index
        energies = torch.where(is_meant, energy, graph.labels.energy)
        graphs.append(replace(graph, labels=replace(graph.labels, energy=energies)))
    return MicroBatches(tuple(graphs))


def partly_labelled(count, **options) -> list[AtomicGraph]:
    """Frames of unequal sizes, of which some lack energy, forces or stress."""
    frames = []
    for index in range(count):
        stress = float(index % 3 != 2 and index % 5 != 0)
        weights = (float(index % 4 != 1), float(index % 7 != 3), stress)
        frames.append(make_frame(index, weights=weights, **options))
    return frames


class Frames(lightning.LightningDataModule):
    """Loaders over graphs in memory, dealt as the real data module deals them."""

    def __init__(
        self,
        train,
        valid=(),
        *,
        batch_size=4,
        valid_batch_size=3,
        num_workers=0,
        max_edges=None,
    ) -> None:
        super().__init__()
        self.train, self.valid = list(train), list(valid)
        self.batch_size, self.valid_batch_size = batch_size, valid_batch_size
        self.num_workers = num_workers
        self.max_edges = max_edges
        self.order = []

    def train_dataloader(self):
        return self._loader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        if not self.valid:
            return []
        size = self.valid_batch_size * self.trainer.world_size
        return self._loader(self.valid, size, shuffle=False)

    def _loader(self, frames, batch_size, *, shuffle):
        sampler = BatchSampler(
            np.array([frame.num_edges for frame in frames]),
            batch_size=batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            seed=3,
            shuffle=shuffle,
        )
        if shuffle:
            go_on(sampler, self.trainer)
        return make_loader(
            frames, sampler, max_edges=self.max_edges, num_workers=self.num_workers
        )


def make_module(model=None, loss=None, **options) -> MACEModule:
    """A module with every part switched on, unless told otherwise."""
    settings = {
        "optimizer": Optimizer(lr=0.02, warmup_steps=4, weight_decay=1e-3),
        "schedule": PlateauSchedule(factor=0.5, patience=0),
        "ema": WeightAverage(decay=0.9),
    }
    loss = loss or UniversalLoss(energy_weight=1.0, forces_weight=10.0, stress_weight=100.0)
    model = PairPotential().double() if model is None else model
    return MACEModule(model, loss, **(settings | options))


def train(
    module, frames, run_dir, *, max_epochs, checkpoint=None, extra_callbacks=(), **settings
):
    """Run `fit` on the CPU."""
    options = {"accelerator": "cpu", "devices": 1, "progress_bar": False} | settings
    return fit(
        module,
        frames,
        settings=TrainerSettings(max_epochs=max_epochs, **options),
        run_dir=Path(run_dir),
        callbacks=[CheckpointWriter(), *extra_callbacks],
        start=checkpoint and StartingPoint(checkpoint, read_checkpoint(checkpoint)),
    )
