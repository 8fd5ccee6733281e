"""Training from equal weights on equal batches is training by mace-torch, step by step.

`write_ten_steps.py` wrote ten_steps.npz with mace-torch 0.3.16. Ours goes the way of a run:
`MACEModule` under Lightning's trainer.
"""

import json
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mace_train.data.dataset import frame_labels
from mace_train.data.frame import Frame
from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches
from mace_train.model.mace import MACE
from mace_train.training.fitting import fit
from mace_train.training.loss import UniversalLoss, total_loss
from mace_train.training.module import MACEModule
from mace_train.training.optim import ConstantSchedule, Optimizer
from mace_train.training.trainer import TrainerSettings

REFERENCE = Path(__file__).with_name("ten_steps.npz")
NUM_STEPS, BATCH_SIZE = 10, 3
TOLERANCES = {1: 1e-10, NUM_STEPS: 1e-8}  # relative, norm-wise, by the number of steps
OF_THE_LOSS = ("energy_weight", "forces_weight", "stress_weight", "huber_delta")
DTYPE = torch.float64


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as file:
        return dict(file)


def settings(reference, group):
    return json.loads(str(reference[group]))


def weights_after(reference, step):
    prefix = f"weights/{step}/"
    return {n.removeprefix(prefix): a for n, a in reference.items() if n.startswith(prefix)}


def make_model(reference):
    """The model with mace-torch's initial weights; constants made in float64 are exact."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        model = MACE(**settings(reference, "model"))
    finally:
        torch.set_default_dtype(before)
    initial = weights_after(reference, 0)
    parameters = dict(model.named_parameters())
    assert parameters.keys() == initial.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(initial[name]))
    return model


def make_batches(reference, model):
    graphs = []
    num_structures = sum(name.endswith("/numbers") for name in reference)
    for place in range(num_structures):
        names = ("numbers", "positions", "cell", "energy", "forces", "stress")
        found = {name: reference[f"structure/{place}/{name}"] for name in names}
        frame = Frame(
            found["numbers"],
            found["positions"],
            found["cell"],
            np.ones(3, bool),
            energy=float(found["energy"]),
            forces=found["forces"],
            stress=found["stress"],
            energy_weight=1.0,
            forces_weight=1.0,
            stress_weight=1.0,
        )
        graphs.append(
            AtomicGraph.from_arrays(
                frame.positions,
                frame.atomic_numbers,
                cell=frame.cell,
                pbc=frame.pbc,
                elements=model.elements,
                r_max=model.r_max,
                dtype=DTYPE,
                labels=frame_labels(frame, place=place, dtype=DTYPE),
            )
        )
    starts = range(0, num_structures, BATCH_SIZE)
    return [AtomicGraph.batch(graphs[start : start + BATCH_SIZE]) for start in starts]


class Batches(lightning.LightningDataModule):
    """The same batches in the same order, as often as it takes."""

    def __init__(self, batches):
        super().__init__()
        self.batches = [batches[step % len(batches)] for step in range(NUM_STEPS)]

    def train_dataloader(self):
        shares = [MicroBatches.of(batch) for batch in self.batches]
        return DataLoader(shares, batch_size=None)

    def val_dataloader(self):
        return []


class Recorded(MACEModule):
    """Keeps the loss of each step, and the weights after some."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.losses, self.kept = [], {}
        compute = self.gradient.compute

        def recorded(share, **options):
            terms = compute(share, **options)
            self.losses.append(total_loss(terms.sums, terms.counts).item())
            return terms

        self.gradient.compute = recorded

    def on_train_batch_end(self, outputs, batch, batch_idx):
        super().on_train_batch_end(outputs, batch, batch_idx)
        if batch_idx + 1 in TOLERANCES:
            parameters = self.model.named_parameters()
            copies = {name: p.detach().clone().numpy() for name, p in parameters}
            self.kept[batch_idx + 1] = copies


@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_ten_steps_give_the_losses_and_weights_of_mace_torch(reference, backend, tmp_path):
    model = make_model(reference)
    model.backend = backend
    given = settings(reference, "training")
    loss = UniversalLoss(**{name: given.pop(name) for name in OF_THE_LOSS})
    module = Recorded(
        model, loss, optimizer=Optimizer(**given), schedule=ConstantSchedule()
    )
    frames = Batches(make_batches(reference, model))

    fit(
        module,
        frames,
        settings=TrainerSettings(1, accelerator="cpu", devices=1, progress_bar=False),
        run_dir=tmp_path,
    )

    for num_steps, tolerance in TOLERANCES.items():
        expected = reference["losses"][:num_steps]
        np.testing.assert_allclose(module.losses[:num_steps], expected, rtol=tolerance)
        for name, weights in weights_after(reference, num_steps).items():
            difference = np.linalg.norm(module.kept[num_steps][name] - weights)
            assert difference <= tolerance * np.linalg.norm(weights), (num_steps, name)
