"""Start from a trained model (``init_from``): weights, architecture, elements, statistics.

Floor 6. The config's ``model`` has nothing but the backend where the user left the
architecture to that model.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from mace_train.checkpoints.model_file import load_model
from mace_train.cli.problems import ConfigError, Problem
from mace_train.data.statistics import Statistics
from mace_train.training.frame_set import name_elements
from mace_train.transfer.heads import with_one_head

if TYPE_CHECKING:
    from mace_train.model.mace import MACE

logger = logging.getLogger(__name__)

_FROM_DATA = ("atomic_numbers", "atomic_energies", "avg_num_neighbors", "scale", "shift")


def load_parent(config: dict[str, Any], *, head: str | None = None) -> MACE:
    """The model to start from, ready to be trained.

    Args:
        config: The run's config, whose ``model`` and ``data.r_max`` are completed from the
            model.
        head: The one to start from, where the model has several.

    Raises:
        ConfigError: If the config asks for another architecture.
        ValueError: If the file is no model, has several heads and none is chosen, or not
            that one.
    """
    path = config["init_from"]
    model = load_model(path, dtype=config["dtype"])
    model = _of_head(model, head, path)
    architecture = _architecture(model)
    model.backend = config["model"]["backend"]
    if config["model"].keys() == {"backend"}:
        config["model"] |= {"_target_": "mace_train.model.mace.MACE", **architecture}
        config["data"]["r_max"] = model.r_max
    _require_same(config["model"], architecture, path)
    logger.info(
        "start: %s (elements: %s; r_max %g Å, scale %.6g, shift %.6g, avg_num_neighbors "
        "%.4g)",
        path,
        name_elements(model.elements.atomic_numbers),
        model.r_max,
        np.ravel(model.hyperparameters["scale"])[0],
        np.ravel(model.hyperparameters["shift"])[0],
        model.hyperparameters["avg_num_neighbors"],
    )
    return model.train().requires_grad_(True)


def _of_head(model: MACE, head: str | None, path: str) -> MACE:
    """The model with one head."""
    heads = ", ".join(model.heads)
    if head is None and len(model.heads) > 1:
        raise ValueError(
            f"init_from={path} has the heads {heads}: training starts from one of them. "
            "Choose the level of theory nearest to that of your frames: "
            f"experiment=finetune finetune.parent_head={model.heads[0]}"
        )
    if head is not None and head not in model.heads:
        raise ValueError(
            f"finetune.parent_head={head}: init_from={path} has no such head, but {heads}"
        )
    if len(model.heads) == 1:
        return model
    logger.info(
        "of the heads %s, training starts from %s; the others are left out", heads, head
    )
    return with_one_head(model, str(head))


def parent_statistics(model: MACE, path: str) -> Statistics:
    """The numbers that the parent took from its own training frames."""
    values = model.hyperparameters
    energies = np.asarray(values["atomic_energies"], np.float64).reshape(-1)
    return Statistics(
        avg_num_neighbors=float(values["avg_num_neighbors"]),
        scale=float(np.ravel(values["scale"])[0]),
        shift=float(np.ravel(values["shift"])[0]),
        atomic_energies=energies,
        determined=np.ones(len(energies), bool),
        e0_source=path,
        atomic_numbers=model.elements.atomic_numbers,
        num_frames=0,
        num_atoms=0,
        num_edges=0,
        atom_counts=np.zeros(len(energies), np.int64),
    )


def _architecture(model: MACE) -> dict[str, Any]:
    """What a config of group ``model`` would say of a model."""
    left_out = (*_FROM_DATA, "heads", "product_basis")
    return {
        key: value for key, value in model.hyperparameters.items() if key not in left_out
    }


def _require_same(asked: dict[str, Any], had: dict[str, Any], path: str) -> None:
    problems = [
        Problem(
            f"model.{key}",
            f"{asked[key]} differs from that of init_from={path}, {had[key]}; leave model "
            "and model.* out to take its architecture",
        )
        for key in had
        if key in asked and _plain(asked[key]) != _plain(had[key])
    ]
    if problems:
        raise ConfigError(problems)


def _plain(value: Any) -> Any:
    """Irreps without spaces, sequences as lists."""
    if isinstance(value, str):
        return value.replace(" ", "")
    return list(value) if isinstance(value, (list, tuple)) else value
