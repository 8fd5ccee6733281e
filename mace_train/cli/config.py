"""Compose a config, check all of it, and give it on as plain values.

Floor 6. What Hydra composed is resolved, every key is checked by the schema, then the
values against each other, and all that is wrong is raised at once, before torch is
imported.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mace_train.cli.checks import cross_check
from mace_train.cli.composition import Composition, compose_unchecked
from mace_train.cli.finetune_config import (
    FINE_TUNING,
    innermost_reference,
    open_keys,
    unused_keys,
)
from mace_train.cli.problems import ConfigError, Problem, flatten
from mace_train.cli.schema import check_group, root_schema
from mace_train.cli.submit import RUN_HERE
from mace_train.cli.values import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

UNNAMED_KEYS = (
    "name", "run_dir", "resume", "recipe.", "trainer.", "submit.", "logger.", "report.",
    "checkpoint.", "callbacks.", "data.num_workers", "data.valid_batch_size",
    "data.cache_dir",
)  # fmt: skip
"""Keys that do not make another run: a run goes on after they change."""

EXCLUSIVE_KEYS = (("data.batch_size", "data.batch_size_per_rank"),)
"""Keys of which one is null: giving one on the command line sets the other to null."""


def compose(
    config_name: str, overrides: Sequence[str] = (), *, config_dir: str | None = None
) -> dict[str, Any]:
    """Compose and check the config of a command.

    Args:
        config_name: ``train``, ``prepare`` or ``evaluate``.
        overrides: What would stand on the command line, e.g. ``["model=mace_tiny"]``.
        config_dir: Folder with the user's own config groups.

    Returns:
        Plain values, interpolations resolved; ``name`` and ``run_dir`` are final. ``model``
        has only its backend where ``init_from`` brings the architecture.

    Raises:
        ConfigError: With everything that is wrong.
    """
    composition = compose_unchecked(config_name, overrides, config_dir=config_dir)
    return finish(config_name, composition)


def finish(config_name: str, composition: Composition) -> dict[str, Any]:
    """Resolve, check and name what was composed.

    Raises:
        ConfigError: With everything that is wrong, composition included.
    """
    config = composition.config
    _prefer_given_keys(config, composition.given_keys)
    _note_open_keys(config, composition.given_keys)
    _drop_unused_job(config, composition.given_keys)
    plain, unresolved = _resolve(config)
    converted, wrong = check_group("", plain, root_schema(config_name))
    wrong_keys = {problem.key for problem in (*unresolved, *wrong)}
    problems = [*composition.problems]
    problems += [p for p in unresolved if _reference(config, p.key) not in wrong_keys]
    unresolved_keys = {problem.key for problem in unresolved}
    problems += [
        problem
        for problem in wrong
        if problem.key not in unresolved_keys
        and _reference(config, problem.key) not in wrong_keys
    ]
    clean = {k for k, v in flatten(converted) if v != MISSING and _is_right(k, wrong_keys)}
    problems += cross_check(config_name, converted, composition.choices, clean)
    replay = converted.get("data", {}).get("replay")
    given = composition.given_keys
    problems += unused_keys(converted.get("finetune", {}), replay, given)
    if problems:
        raise ConfigError(problems, f"mace-{config_name}")
    keeps_architecture = bool(converted.get("init_from")) and not any(
        key.split(".")[0] == "model" and key != "model.backend"
        for key in composition.given_keys
    )
    if converted.get("name") == "auto":
        choices = composition.choices | (
            {"model": "finetune"} if keeps_architecture else {}
        )
        with open_dict(config):
            config.name = _automatic_name(converted, choices)
        plain, _ = _resolve(config)
        converted, _ = check_group("", plain, root_schema(config_name))
    if keeps_architecture:
        converted["model"] = {"backend": converted["model"]["backend"]}
    return converted


def _note_open_keys(config: DictConfig, given: set[str]) -> None:
    """Tell a fine-tuning which keys its method may set."""
    group = config.get("finetune")
    if isinstance(group, DictConfig) and group.get("_target_") == FINE_TUNING:
        with open_dict(config):
            group["open_keys"] = open_keys(config, given)


def _drop_unused_job(config: DictConfig, given: set[str]) -> None:
    """Where no job is asked for, what a preset wants of a job says nothing.

    A preset that chooses ``submit=slurm`` stands in the command of its own job too.
    """
    job = config.get("submit")
    if not isinstance(job, DictConfig) or job.get("_target_") != RUN_HERE:
        return
    with open_dict(config):
        for name in [str(name) for name in job if name != "_target_"]:
            if f"submit.{name}" not in given:
                del job[name]


def _is_right(key: str, wrong_keys: set[str]) -> bool:
    """Whether nothing is wrong with a value, nor with the items of a list of mappings."""
    inside = (f"{key}[", f"{key}.")
    return not any(wrong == key or wrong.startswith(inside) for wrong in wrong_keys)


def _prefer_given_keys(config: DictConfig, given: set[str]) -> None:
    """Where the user gave one of two exclusive keys, set the other to null."""
    for pair in EXCLUSIVE_KEYS:
        for key, other in (pair, pair[::-1]):
            path, _, name = other.rpartition(".")
            group = OmegaConf.select(config, path)
            exists = isinstance(group, DictConfig) and name in group
            only_one = exists and key in given and other not in given
            if only_one and OmegaConf.select(config, key) is not None:
                OmegaConf.update(config, other, None)


def _resolve(config: DictConfig) -> tuple[dict[str, Any], list[Problem]]:
    """Plain values with interpolations resolved; those that cannot be are named."""
    problems: list[Problem] = []

    def plain(node: Any, prefix: str) -> Any:
        result: dict[str, Any] = {}
        for name in node:
            key = f"{prefix}{name}"
            try:
                missing = OmegaConf.is_missing(node, name)
                value = MISSING if missing else node[name]
                if isinstance(value, ListConfig):
                    value = OmegaConf.to_container(value, resolve=True)
            except OmegaConfBaseException as error:
                text = str(node._get_node(name)._value())
                reason = str(error).split("\n")[0]
                problems.append(Problem(key, f"{text} cannot be resolved: {reason}"))
                value = None
            result[str(name)] = (
                plain(value, f"{key}.") if isinstance(value, DictConfig) else value
            )
        return result

    return plain(config, ""), problems


def _reference(config: DictConfig, key: str) -> str | None:
    """The key that a value refers to, such as ``${recipe.lr}``."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118
            return None
        node = node._get_node(part)
    text = node._value() if node is not None else None
    return innermost_reference(text) if isinstance(text, str) else None


def _automatic_name(config: dict[str, Any], choices: dict[str, str]) -> str:
    """Model, data and a hash of everything that makes another run."""
    kept = {
        key: value for key, value in flatten(config) if not key.startswith(UNNAMED_KEYS)
    }
    text = json.dumps(kept, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{choices.get('model', 'model')}-{choices.get('data', 'data')}-{digest}"
