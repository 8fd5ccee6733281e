"""The config of a fine-tuning: keys that follow its method, and values that must fit.

Floor 6; omegaconf and the standard library only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from mace_train.cli.problems import Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from mace_train.cli.checked import Values

FINE_TUNING = "mace_train.finetuning.settings.FineTuning"

RECIPE_KEYS = {
    "lr": ("recipe.lr", "optim.lr", "stage_two.lr"),
    "ema_decay": ("recipe.ema_decay", "ema.decay"),
    "clip_norm": ("recipe.clip_norm", "optim.clip_norm"),
}
"""Of each number in a method's recipe, the keys through which it reaches the run."""

WEIGHT_KEYS = {
    f"{stage}.{name}_weight": f"recipe.{name}_weight"
    for stage in ("loss", "stage_two")
    for name in ("energy", "forces", "stress")
}
"""Weights of the loss, and the keys that they usually follow."""

METHOD_KEYS = {
    "trainable": "freeze",
    "lora_rank": "lora",
    "head": "replay",
    "replay_labels": "replay",
    "keep_parent_head": "replay",
}
"""Keys that belong to one method."""

_RECIPES = "finetune.recipes."

E0_WORDS = ("estimated", "isolated_atoms", "parent")


def open_keys(config: DictConfig, given: Collection[str]) -> list[str]:
    """Keys that the user left to the method: it may set them when it is chosen.

    Args:
        config: Composed, not resolved.
        given: Keys on the command line.
    """
    left = [
        end
        for name, (recipe_key, *ends) in RECIPE_KEYS.items()
        for end in ends
        if _text(config, end) == f"${{{recipe_key}}}"
        and _text(config, recipe_key).startswith("${finetune.recipes.")
        and _text(config, recipe_key).endswith(f".{name}}}")
    ]
    return left + [
        key
        for key, recipe_key in WEIGHT_KEYS.items()
        if key not in given and recipe_key not in given
    ]


def unused_keys(
    settings: Mapping[str, Any], replay: object, given: Collection[str]
) -> list[Problem]:
    """Keys that the user gave and that the method does not look at.

    Args:
        settings: The group ``finetune``.
        replay: ``data.replay``.
        given: Keys on the command line.
    """
    if settings.get("_target_") != FINE_TUNING:
        return []
    method = settings.get("method")
    possible = {method} if method != "auto" else {"replay"} if replay else {"full", "lora"}
    shown = f"finetune.method={method}" + (
        ", which chooses full or lora" if method == "auto" and not replay else ""
    )
    recipes = {key: key.split(".")[2] for key in given if key.startswith(_RECIPES)}
    belongs = {f"finetune.{name}": method for name, method in METHOD_KEYS.items()} | recipes
    return [
        Problem(
            key, f"has no effect with {shown}: it belongs to finetune.method={its_method}"
        )
        for key, its_method in belongs.items()
        if key in given and its_method not in possible
    ]


def _text(config: DictConfig, key: str) -> str:
    """What stands at a key, its references not followed."""
    path, _, name = key.rpartition(".")
    group = OmegaConf.select(config, path, throw_on_resolution_failure=False)
    if not isinstance(group, DictConfig) or name not in group.keys():  # noqa: SIM118
        return ""
    return str(group._get_node(name)._value())  # type: ignore[union-attr] - no list


def innermost_reference(text: str) -> str | None:
    """The key that a value depends on first.

    >>> innermost_reference("${finetune.recipes.${finetune.method}.lr}")
    'finetune.method'
    """
    match = re.search(r"\$\{([\w.]+)\}", text)
    return match[1] if match else None


def finetune_checks(values: Values) -> Iterator[Problem]:
    """What is wrong between the values of a fine-tuning."""
    is_tuning = values.get("finetune._target_") == FINE_TUNING
    if is_tuning and values.has("init_from") and values.get("init_from") is None:
        what = "PATH of the model file or checkpoint to start from"
        yield Problem("init_from", f"must be given: init_from={what}")
    if not is_tuning:
        for key in ("data.replay", "data.guard"):
            if values.get(key):
                cure = "add experiment=finetune, or leave it out"
                yield Problem(key, f"has no effect without fine-tuning: {cure}")
        return
    yield from _committee(values)
    yield from _replay(values)
    yield from _reference_energies(values)


def _committee(values: Values) -> Iterator[Problem]:
    """A job whose processes would each train all members."""
    number, nodes = values.get("finetune.committee"), values.get("submit.nodes")
    if not isinstance(number, int) or number == 1 or nodes is None:
        return
    tasks = values.get("submit.tasks_per_node")
    tasks = values.get("submit.gpus_per_node") if tasks == "auto" else tasks
    if nodes > 1 or (tasks or 1) > 1:
        cure = "submit.nodes=1 submit.gpus_per_node=1, or submit a job for each seed"
        what = "members are trained one after another by one process"
        yield Problem("finetune.committee", f"{number} in a job of several: {what}: {cure}")


def _replay(values: Values) -> Iterator[Problem]:
    method, replay = values.get("finetune.method"), values.get("data.replay")
    if method == "replay" and values.has("data.replay") and not replay:
        cure = (
            "data.replay=FILES of the kind that the parent was trained on (with "
            "finetune.replay_labels=parent they need no labels), or another method"
        )
        yield Problem("data.replay", f"must be given for finetune.method=replay: {cure}")
    if method in ("full", "freeze", "lora") and replay:
        cure = "finetune.method=replay, or leave data.replay out"
        yield Problem("data.replay", f"has no effect with finetune.method={method}: {cure}")
    head = values.get("finetune.head")
    if isinstance(head, str) and not re.fullmatch(r"[\w.+-]+", head):
        message = f"{head!r} is not allowed; allowed: letters, digits and ._+-"
        yield Problem("finetune.head", message)


def _reference_energies(values: Values) -> Iterator[Problem]:
    source = values.get("finetune.e0s")
    if not isinstance(source, str) or source in E0_WORDS or Path(source).is_file():
        return
    allowed = f"{' | '.join(E0_WORDS)} | PATH of a JSON file"
    hint = nearest(source, E0_WORDS)
    yield Problem("finetune.e0s", f"{source!r} is no such file; allowed: {allowed}{hint}")


def set_key(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of plain nested values, if its group has it."""
    *path, name = key.split(".")
    group = config
    for part in path:
        group = group[part]
    if name in group:
        group[name] = value
