"""What ``mace-evaluate`` evaluates: models or a calculator, and the frames for them.

Floor 6. All that a stopped evaluation must find again as it was is gathered in plain
values, by which its parts are known.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mace_train.checkpoints.model_file import load_model
from mace_train.cli.evaluated_frames import open_frames, unknown_elements_left_out
from mace_train.cli.given_calculator import chosen_device, chosen_head, make_calculator
from mace_train.cli.problems import ConfigError, Problem
from mace_train.data.dataset import GraphDataset
from mace_train.data.parallel import num_cores
from mace_train.model.backends import chosen_backend
from mace_train.training.potentials import CalculatorPotential, ModelPotential
from mace_train.training.prediction_files import COMMITTEE_EXTRAS
from mace_train.training.prediction_memory import choose_max_edges
from mace_train.training.prediction_plan import calculator_parts, model_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mace_train.cli.evaluated_frames import EvaluatedFrames
    from mace_train.model.backends import ChosenBackend
    from mace_train.model.mace import MACE
    from mace_train.training.potentials import Potential
    from mace_train.training.prediction_parts import PartFolder

logger = logging.getLogger(__name__)

_COMMAND = "mace-evaluate"
_DTYPES = {"auto": None, "float32": torch.float32, "float64": torch.float64}
_ANY_R_MAX = 6.0  # a store counts edges; a calculator finds its own


@dataclass(frozen=True)
class Evaluated:
    """A potential and its frames.

    Attributes:
        potential: Predicts frames by their places.
        frames: All that are predicted.
        parts: Places of the frames of each part.
        workers: Processes that predict.
        backend: Of the models; None for a calculator.
        extras: What is predicted besides energy, forces and stress.
    """

    potential: Potential
    frames: EvaluatedFrames
    parts: Sequence[range]
    workers: int
    backend: ChosenBackend | None
    extras: tuple[str, ...]


def open_models(config: dict[str, Any], folder: PartFolder) -> Evaluated:
    """The model of ``checkpoint``, or the committee, and the frames of ``data.test``.

    Args:
        config: Plain values with the keys of ``configs/evaluate.yaml``.
        folder: Where parts are kept; the evaluation begins or goes on in it.

    Raises:
        ConfigError: If the head or the device is none that there is.
        ValueError: If a file cannot be read, models do not fit together, the models do not
            know an element of the data, or the folder belongs to another evaluation.
    """
    device = chosen_device(config["device"], command=_COMMAND)
    workers = _num_workers(config["workers"], alone_for=_who_is_alone(config, device))
    paths = model_paths(config["checkpoint"])
    models = _load(paths, dtype=_DTYPES[config["dtype"]])
    model = models[0]
    head = chosen_head(model.heads, config["head"], command=_COMMAND)
    frames = unknown_elements_left_out(
        open_frames(config, r_max=model.r_max),
        model.elements,
        who=f"the model {paths[0]}",
        bad_frames=config["bad_frames"],
    )
    dtype = next(model.parameters()).dtype
    dataset = GraphDataset(
        frames.store,
        frames.indices,
        elements=model.elements,
        r_max=model.r_max,
        dtype=dtype,
    )
    parts = model_parts(frames.store.edge_counts(model.r_max)[frames.indices])
    identity = {
        "checkpoint": [f"{path.name} ({_sha256(path)[:16]})" for path in paths],
        "head": head,
        "dtype": str(dtype).removeprefix("torch."),
        **_common_identity(config, frames, parts),
    }
    folder.begin(identity, resume=config["resume"] == "auto")
    models = [one.to(device).eval().requires_grad_(False) for one in models]
    max_edges = config["data"]["max_edges"]
    if max_edges == "auto":
        max_edges = folder.notes.get("max_edges") or choose_max_edges(
            models, dataset, device=device, num_processes=min(workers, len(parts))
        )
    folder.note(max_edges=max_edges)
    potential = ModelPotential(
        models,
        dataset,
        device=device,
        head=list(model.heads).index(head),
        max_edges=max_edges,
        batch_size=config["data"]["batch_size"],
        node_energies=config["node_energies"],
        num_workers=0 if device.type == "cpu" else max(1, min(8, num_cores() - 1)),
    )
    backend = chosen_backend(model.backend, device)
    extras = (*_extras(config), *(COMMITTEE_EXTRAS if len(models) > 1 else ()))
    return Evaluated(potential, frames, parts, workers, backend, extras)


def open_calculator(config: dict[str, Any], folder: PartFolder) -> Evaluated:
    """The ASE calculator of ``calculator``, and the frames of ``data.test``.

    Args:
        config: Plain values with the keys of ``configs/evaluate.yaml``.
        folder: Where parts are kept; the evaluation begins or goes on in it.

    Raises:
        ConfigError: If the calculator cannot be made.
        ValueError: If a file cannot be read, or the folder belongs to another evaluation.
    """
    workers = _num_workers(config["workers"], alone_for="a calculator")
    calculator = make_calculator(config["calculator"], command=_COMMAND)
    frames = open_frames(config, r_max=_ANY_R_MAX)
    parts = calculator_parts(len(frames.indices))
    identity = {
        "calculator": config["calculator"],
        **_common_identity(config, frames, parts),
    }
    folder.begin(identity, resume=config["resume"] == "auto")
    potential = CalculatorPotential(
        calculator,
        frames.store,
        frames.indices,
        node_energies=config["node_energies"],
    )
    return Evaluated(potential, frames, parts, workers, None, _extras(config))


def model_paths(checkpoint: str | Sequence[str]) -> list[Path]:
    """Files that ``checkpoint`` names: a file, a glob pattern, or a list of them."""
    words = [checkpoint] if isinstance(checkpoint, str) else list(checkpoint)
    paths: list[Path] = []
    for word in words:
        path = Path(word)
        if any(sign in word for sign in "*?[") and not path.exists():
            root = Path(path.anchor or ".")
            paths += sorted(root.glob(str(path.relative_to(path.anchor))))
        else:
            paths.append(path)
    return paths


def _extras(config: dict[str, Any]) -> tuple[str, ...]:
    return ("node_energies",) if config["node_energies"] else ()


def _common_identity(
    config: dict[str, Any], frames: EvaluatedFrames, parts: Sequence[range]
) -> dict[str, Any]:
    """What predictions depend on besides the potential: the structures and their parts."""
    digest = hashlib.sha256(frames.store.source_indices[frames.indices].tobytes())
    digest.update(np.array([part.stop for part in parts], np.int64).tobytes())
    return {
        "files of data.test": dict(frames.store.checksums),
        "frames of data.test": f"{len(frames.indices)} ({digest.hexdigest()[:16]})",
        "data.units.length": config["data"]["units"]["length"],
        "node_energies": config["node_energies"],
    }


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _load(paths: Sequence[Path], *, dtype: torch.dtype | None) -> list[MACE]:
    """The models of the files, which fit together."""
    models = [load_model(path, device="cpu", dtype=dtype) for path in paths]
    _require_alike(models, paths)
    if len(paths) > 1:
        logger.info("a committee of %d: %s", len(paths), ", ".join(map(str, paths)))
    return models


def _require_alike(models: Sequence[MACE], paths: Sequence[Path]) -> None:
    """Refuse a committee whose members are not asked in the same way."""
    first = models[0]
    for model, path in zip(models[1:], paths[1:]):
        for what, mine, other in (
            ("elements", first.elements.atomic_numbers, model.elements.atomic_numbers),
            ("r_max", first.r_max, model.r_max),
            ("heads", tuple(first.heads), tuple(model.heads)),
            ("dtype", next(first.parameters()).dtype, next(model.parameters()).dtype),
        ):
            if mine != other:
                raise ValueError(
                    f"{path} cannot be in one committee with {paths[0]}: their {what} "
                    f"differ ({other} and {mine})"
                )


def _who_is_alone(config: dict[str, Any], device: torch.device) -> str:
    return "" if device.type == "cpu" else f"device={config['device']}"


def _num_workers(workers: int | str, *, alone_for: str) -> int:
    """Processes that predict; a GPU or a calculator belongs to one.

    Args:
        workers: The number, or ``auto``: as many as there are cores for.
        alone_for: Who is used by one process only; empty for nobody.
    """
    if workers == "auto":
        threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        cores = num_cores() // max(int(threads) if threads.isdigit() else 1, 1)
        return 1 if alone_for else max(1, cores)
    if alone_for and int(workers) > 1:
        problem = Problem("workers", f"{workers}: {alone_for} is used by one process only")
        raise ConfigError([problem], _COMMAND)
    return int(workers)
