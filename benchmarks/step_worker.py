"""One code in one process, driven command by command: what both codes have in common.

`step.py` starts a worker for each code, pins both to the same cores, and lets them step in
turn; only one works at a time, and the other sleeps on its pipe. A command is a line of
JSON on the standard input, its answer a line on a pipe.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crystals import Crystal, read_crystals
from torch import Tensor

LEARNING_RATE, WEIGHT_DECAY, CLIP_NORM = 0.01, 5e-7, 10.0
WEIGHTS = {"energy_weight": 1.0, "forces_weight": 10.0, "stress_weight": 100.0}


class Code(ABC):
    """Model, optimizer and batches of one code; the public methods are the commands."""

    model: Any  # a torch.nn.Module
    optimizer: torch.optim.Optimizer
    batches: list[Any]
    rank, num_ranks = 0, 1

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what decides the speed."""

    @abstractmethod
    def _read_model(self, path: str, dtype: torch.dtype) -> None:
        """Set ``model`` and the loss."""

    @abstractmethod
    def _make_optimizer(self) -> torch.optim.Optimizer:
        """The code's own optimizer with its own groups of parameters."""

    @abstractmethod
    def _graph(self, crystal: Crystal, dtype: torch.dtype) -> Any:
        """A structure with its neighbors and labels."""

    @abstractmethod
    def _collate(self, graphs: list[Any]) -> Any:
        """A batch."""

    @abstractmethod
    def _predict(self, batch: Any, *, training: bool) -> Any:
        """Energy, forces and stress."""

    @abstractmethod
    def _loss(self, prediction: Any, batch: Any) -> Tensor:
        """The universal loss."""

    @abstractmethod
    def _values(self, prediction: Any) -> dict[str, Tensor]:
        """``energy``, ``forces`` and ``stress`` of a prediction."""

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)

    def load(
        self, model: str, crystals: str, dtype: str, batch_size: int
    ) -> dict[str, Any]:
        """Read a model and make all batches; later commands name them by their place."""
        precision = getattr(torch, dtype)
        self._read_model(model, precision)
        self.optimizer = self._make_optimizer()
        structures = read_crystals(Path(crystals))
        places = range(0, len(structures), batch_size)
        parts = [structures[place : place + batch_size] for place in places]
        parts = [part[self.rank :: self.num_ranks] for part in parts]
        began = time.perf_counter()
        graphs = [[self._graph(crystal, precision) for crystal in part] for part in parts]
        between = time.perf_counter()
        self.batches = [self._collate(part) for part in graphs]
        ended = time.perf_counter()
        atoms = [sum(len(crystal.numbers) for crystal in part) for part in parts]
        return {
            "atoms": atoms,
            "edges": sum(g.edge_index.shape[1] for part in graphs for g in part),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "graph_ms_an_atom": 1e3 * (between - began) / sum(atoms),
            "collate_ms_an_atom": 1e3 * (ended - between) / sum(atoms),
        }

    def mode(self, name: str) -> None:
        """Get ready to ``train``, or to ``infer`` without gradients of parameters."""
        self.model.train(name == "train")
        self.model.requires_grad_(name == "train")
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, batch: int) -> dict[str, float]:
        """One training step, or one prediction: whatever the mode is."""
        began = time.perf_counter()
        loss = self._step(self.batches[batch])
        return {"seconds": time.perf_counter() - began, "loss": loss}

    def _step(self, batch: Any) -> float:
        if not self.model.training:
            self._predict(batch, training=False)
            return 0.0
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._predict(batch, training=True), batch)
        loss.backward()
        self._clip()
        self.optimizer.step()
        return loss.item()

    def results(self, batch: int, path: str) -> None:
        """Write prediction, loss and the gradient of each parameter, not clipped."""
        self.mode("train")
        prediction = self._predict(self.batches[batch], training=True)
        loss = self._loss(prediction, self.batches[batch])
        loss.backward()
        arrays = {**self._values(prediction), "loss": loss}
        for name, parameter in self.model.named_parameters():
            assert parameter.grad is not None, f"{name} has no gradient"
            arrays[f"gradient/{name}"] = parameter.grad
        _write(path, arrays)

    def weights(self, path: str) -> None:
        """Write all parameters."""
        _write(path, dict(self.model.named_parameters()))

    def memory(self, batches: list[int]) -> dict[str, float]:
        """Resident memory, MB: before these training steps, and at most during them.

        What reading the model left free in the heap goes back to the system first, so that
        steps cannot fill it unseen.
        """
        self.mode("train")
        before = forget_peak()
        for batch in batches:
            self._step(self.batches[batch])
        return {"before": before, "peak": process_status("VmHWM")}


def serve(code: object, answers_to: int) -> None:
    """Answer commands until the input ends: public methods, by name.

    Args:
        code: Whose methods they are.
        answers_to: File descriptor that answers go to.
    """
    answers = os.fdopen(answers_to, "w")
    for line in sys.stdin:
        command, arguments = json.loads(line)
        try:
            answer = {"value": getattr(code, command)(**arguments)}
        except Exception:  # noqa: BLE001 - it is raised again where the command came from
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def prepare_process() -> argparse.Namespace:
    """Read the command line, pin this process to its cores, and set up torch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cores", type=int, nargs="+", required=True)
    parser.add_argument("--answers", type=int, required=True, help="file descriptor")
    parser.add_argument("--backend", help="of our model; its own choice if absent")
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--rendezvous", help="file by which two ranks find each other")
    args = parser.parse_args()
    os.sched_setaffinity(0, args.cores)
    torch.set_flush_denormal(True)  # first: threads inherit it
    torch.set_num_threads(len(args.cores))
    return args


def _write(path: str, tensors: dict[str, Tensor]) -> None:
    arrays: dict[str, Any] = {n: t.detach().double().numpy() for n, t in tensors.items()}
    np.savez(path, **arrays)


def forget_peak() -> float:
    """Resident memory in MB with the free heap given back; ``VmHWM`` begins anew."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return process_status("VmRSS")


def process_status(name: str) -> float:
    """A size in ``/proc/self/status``, MB: ``VmRSS`` is resident, ``VmHWM`` its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(name)
