"""Whether a checkpoint is of the run that is to go on, and what has changed since.

Floor 4, plain values only. What makes a run what it is must be as it was: its data, their
split and order, the batch, the objective. Whatever else differs may, and is recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mace_train.training.checkpoint_folder import ADVICE
from mace_train.training.differences import joined, shown, word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SPLIT_KEYS = (
    "data.split", "data.valid_fraction", "data.test_fraction", "data.group_key",
    "data.seed",
)  # fmt: skip
_DECISIVE_KEYS = (
    "dtype", "seed", "data.seed", "init_from", "loss._target_", "optim.algorithm",
    "optim.amsgrad",
    "data.mixing", "data.max_force", "data.energy_key", "data.forces_key",
    "data.stress_key", "data.virials_key", "data.units.",
)  # fmt: skip
"""Keys of the config that another value would make another run of, in mid-way: the labels
and the order of training frames, what is made small, and what the optimizer remembers."""

_UNRECORDED_KEYS = ("resume", "estimate", "submit.", "schedule.num_epochs")
"""Keys that tell nothing of the training; a schedule keeps the length it began with."""


def require_same_run(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, path: object = "the checkpoint"
) -> None:
    """Refuse a checkpoint of a run whose data, batches or objective were others.

    Args:
        saved: Metadata of the checkpoint: ``config``, ``data_checksums``,
            ``valid_checksums``, ``split_checksum``, ``global_batch_size``, ``fine_tuning``
            as far as they are known; what is missing on one side is not compared.
        current: The same of the run to go on.
        path: How to call the checkpoint.

    Raises:
        ValueError: If they differ; the message names both values and how to restore the
            first.
    """
    before, now = dict(_leaves(saved.get("config"))), dict(_leaves(current.get("config")))
    keys = _DECISIVE_KEYS
    if saved.get("split_checksum") is None or current.get("split_checksum") is None:
        keys += _SPLIT_KEYS
    found = [
        *_other_files(saved, current, name="data_checksums", key="data.train"),
        *_other_files(saved, current, name="valid_checksums", key="data.valid"),
        *_other_split(saved, current),
        *_other_heads(before.get("data.train"), now.get("data.train")),
        *_other_batch(saved, current),
        *_other_tuning(saved.get("fine_tuning"), current.get("fine_tuning")),
    ]
    found += [
        f"{key} is {shown(before[key])} in the checkpoint and {shown(now[key])} now: set "
        f"{key}={word(before[key])}"
        for key in before
        if _is_among(key, keys) and key in now and before[key] != now[key]
    ]
    if found:
        raise ValueError(
            f"{path} belongs to another run, and going on would mix the two: "
            f"{joined(found)}. Restore that to go on. {ADVICE}"
        )


def config_changes(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, step: int
) -> list[dict[str, Any]]:
    """What else differs from when a checkpoint was written: it may, and is recorded.

    Args:
        saved: Metadata of the checkpoint.
        current: Metadata of the run to go on.
        step: Optimizer steps done by then.

    Returns:
        One record a change, of plain values: ``step``, ``key``, ``from`` and ``to``.
    """
    before, now = dict(_recorded(saved)), dict(_recorded(current))
    return [
        {"step": step, "key": key, "from": before[key], "to": now[key]}
        for key in before
        if key in now and before[key] != now[key]
    ]


def _recorded(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of what may change: config, versions and number of ranks."""
    for key, value in _leaves(metadata.get("config")):
        if not _is_among(key, _UNRECORDED_KEYS):
            yield key, value
    for name in ("versions", "git_commit", "world_size"):
        if name in metadata:
            yield from _leaves({name: metadata[name]})


def _is_among(key: str, keys: tuple[str, ...]) -> bool:
    """Whether a key, or a group that ends with a dot and holds it, is named."""
    return any(key == one or (one[-1] == "." and key.startswith(one)) for one in keys)


def _leaves(
    mapping: Mapping[str, Any] | None, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in (mapping or {}).items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _other_files(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, name: str, key: str
) -> list[str]:
    """What is said if files have other contents; other names alone do not matter."""
    old, new = saved.get(name), current.get(name)
    if old is None or new is None or list(old.values()) == list(new.values()):
        return []
    told = [
        f"{file} has sha256 {old[file][:12]} in the checkpoint and {new[file][:12]} now"
        for file in old
        if file in new and old[file] != new[file]
    ]
    told += [f"{file} is missing now" for file in old if file not in new]
    told += [f"{file} is new" for file in new if file not in old]
    return [f"files of {key}: {joined(told or ['their order is another'])}"]


def _other_split(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    name = "split_checksum"
    old, new = saved.get(name), current.get(name)
    if old is None or new is None or old == new:
        return []
    return [
        "other frames are for training or validation: restore data.split and its like, or "
        "give data.split_file=split.json of the run folder"
    ]


def _other_heads(saved: Any, current: Any) -> list[str]:
    """What is said if sets in ``data.train`` belong to other heads."""
    old, new = _heads(saved), _heads(current)
    if None in (saved, current) or old == new:
        return []
    return [f"sets of data.train have the heads {old} in the checkpoint and {new} now"]


def _heads(sets: Any) -> list[str]:
    """The head of each set; nothing where ``data.train`` only names files."""
    items = sets if isinstance(sets, (list, tuple)) else []
    named = any(isinstance(item, dict) for item in items)
    heads = [item.get("head") if isinstance(item, dict) else None for item in items]
    return [head or "Default" for head in heads] if named else []


def _other_tuning(
    saved: Mapping[str, Any] | None, current: Mapping[str, Any] | None
) -> list[str]:
    """What is said if the parent is another model, or other weights would move."""
    old, new, found = saved or {}, current or {}, []
    key = "parent_sha256"
    if key in old and key in new and old[key] != new[key]:
        found.append(
            f"init_from={new['parent']} holds another model now (sha256 {new[key][:12]}, "
            f"not {old[key][:12]}) than the one that the run began with"
        )
    for key in ("method", "trainable", "lora_rank"):
        if key in old and old[key] != new.get(key):
            found.append(
                f"finetune.{key} is {shown(old[key])} in the checkpoint and "
                f"{shown(new.get(key))} now: set finetune.{key}={word(old[key])}"
            )
    return found


def _other_batch(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    name = "global_batch_size"
    old, new = saved.get(name), current.get(name)
    if old is None or new is None or old == new:
        return []
    return [
        f"the global batch has {old} frames in the checkpoint and {new} now: set "
        f"data.batch_size={old} data.batch_size_per_rank=null"
    ]
