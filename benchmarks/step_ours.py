"""mace-train as `step_worker` drives it, and what is measured of it alone."""

from __future__ import annotations

import importlib.metadata
import math
import time
import warnings
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from crystals import Crystal
from product_counter import ProductCounter
from step_worker import (
    CLIP_NORM,
    LEARNING_RATE,
    WEIGHT_DECAY,
    WEIGHTS,
    Code,
    prepare_process,
    serve,
)
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from mace_train.checkpoints.model_file import load_model
from mace_train.data.dataset import frame_labels
from mace_train.data.frame import Frame
from mace_train.graph import AtomicGraph
from mace_train.training.loss import UniversalLoss, total_loss
from mace_train.training.optim import Optimizer
from mace_train.training.ranks import sum_over_ranks

if TYPE_CHECKING:
    from argparse import Namespace

    from mace_train.model.derivatives import Prediction

SGEMM_SHAPES = (  # of the products in a step, and square ones
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (4096, 64, 512),
    (4096, 64, 1280),
    (16384, 128, 128),
)


class Ours(Code):
    """What a step of `MACEModule` under Lightning's trainer does."""

    def __init__(self, args: Namespace) -> None:
        # Lightning asks for broadcast_buffers too, which new versions of torch deprecate.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
        self.backend: str | None = args.backend
        self.rank = args.rank
        if args.rendezvous:
            self.num_ranks = 2
            dist.init_process_group(
                "gloo",
                init_method=f"file://{args.rendezvous}",
                rank=args.rank,
                world_size=2,
            )

    def versions(self) -> dict[str, str]:
        """Versions of what decides the speed."""
        packages = ("mace-train", "torch", "e3nn")
        return {package: importlib.metadata.version(package) for package in packages}

    def _read_model(self, path: str, dtype: torch.dtype) -> None:
        self.model = load_model(path, dtype=dtype)
        if self.backend is not None:
            setattr(self.model, "backend", self.backend)  # noqa: B010
        self.loss = UniversalLoss(**WEIGHTS)
        self.trained = (
            DistributedDataParallel(self.model, broadcast_buffers=False)
            if self.num_ranks > 1
            else self.model
        )

    def _make_optimizer(self) -> torch.optim.Optimizer:
        self.settings = Optimizer(
            lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, amsgrad=True, clip_norm=CLIP_NORM
        )
        return self.settings.build(self.model)

    def _graph(self, crystal: Crystal, dtype: torch.dtype) -> AtomicGraph:
        frame = Frame(
            atomic_numbers=crystal.numbers,
            positions=crystal.positions,
            cell=crystal.cell,
            pbc=torch.ones(3, dtype=torch.bool).numpy(),
            energy=crystal.energy,
            forces=crystal.forces,
            stress=crystal.stress,
            energy_weight=1.0,
            forces_weight=1.0,
            stress_weight=1.0,
        )
        return AtomicGraph.from_arrays(
            frame.positions,
            frame.atomic_numbers,
            cell=frame.cell,
            pbc=frame.pbc,
            elements=self.model.elements,
            r_max=self.model.r_max,
            dtype=dtype,
            labels=frame_labels(frame, place=0, dtype=dtype),
        )

    def _collate(self, graphs: list[AtomicGraph]) -> AtomicGraph:
        return AtomicGraph.batch(graphs).with_tables()

    def _predict(self, batch: AtomicGraph, *, training: bool) -> Prediction:
        model = self.trained if training else self.model
        return model(batch, compute_forces=True, compute_stress=True)

    def _loss(self, prediction: Prediction, batch: AtomicGraph) -> Tensor:
        sums, counts = self.loss.terms(prediction, batch)
        bad_sums = (~torch.isfinite(sums.detach())).sum().double()
        totals = sum_over_ranks(torch.cat([counts, bad_sums[None]]))
        return total_loss(sums, totals[:3]) * self.num_ranks

    def _values(self, prediction: Prediction) -> dict[str, Tensor]:
        assert prediction.forces is not None
        assert prediction.stress is not None
        return {
            "energy": prediction.energy,
            "forces": prediction.forces,
            "stress": prediction.stress,
        }

    def _clip(self) -> None:
        if not bool(torch.isfinite(self.settings.clip(self.model))):
            raise FloatingPointError("the gradient is not finite")

    def floating_point_operations(self, batch: int) -> int:
        """Those of all matrix products in the present mode's step, sparse ones included."""
        with ProductCounter() as counter:
            self._step(self.batches[batch])
        return counter.operations

    def profiled(self, batch: int, lines: int) -> str:
        """The head of torch.profiler's table for one step, by time outside of callees."""
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            self._step(self.batches[batch])
        averages = profiler.key_averages()
        return averages.table(
            sort_by="self_cpu_time_total", row_limit=lines, max_name_column_width=44
        )

    def sgemm_rate(self) -> float:
        """The highest rate of float32 products on these cores, operations a second."""
        best = math.inf
        for rows, inner, columns in SGEMM_SHAPES:
            left, right = torch.rand(rows, inner), torch.rand(inner, columns)
            out = torch.empty(rows, columns)
            operations = 2 * rows * inner * columns
            for _ in range(max(10, int(5e9 / operations))):
                began = time.perf_counter()
                torch.mm(left, right, out=out)
                best = min(best, (time.perf_counter() - began) / operations)
        return 1 / best


if __name__ == "__main__":
    given = prepare_process()
    serve(Ours(given), given.answers)
