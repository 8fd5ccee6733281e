"""The roll call: which process computes where, and whether all were given the same.

Floor 4. It comes before the first step, since ranks with different settings would train on
without a word, or wait for each other for ever.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mace_train.training.differences import joined, word
from mace_train.training.launch import rank_of, read_launch
from mace_train.training.ranks import gather_over_ranks, is_first

logger = logging.getLogger(__name__)

UNCOMPARED_KEYS = (
    "config.data.cache_dir", "config.submit.", "statistics.", "git_commit",
    "hyperparameters.atomic_energies", "hyperparameters.avg_num_neighbors",
    "hyperparameters.scale", "hyperparameters.shift",
    "fine_tuning.reference_energies.",
)  # fmt: skip
"""What may differ between ranks: a folder of the node; what follows from the data, whose
checksums are compared and whose last digits depend on the processor; what git was too slow
to tell."""


@dataclass(frozen=True)
class RankRow:
    """One process of a run.

    Attributes:
        rank: Among all.
        host: Name of its machine.
        local_rank: On that machine.
        device: What it computes on.
        config_hash: Eight digits of its configuration, which stay when a run goes on.
    """

    rank: int
    host: str
    local_rank: int
    device: str
    config_hash: str


def require_equal_configs(settings: Mapping[str, Any], *, device: torch.device) -> None:
    """Log a table of all ranks, and refuse to train where they were given different things.

    Args:
        settings: All that should be equal; nested mappings of plain values, with the config
            under ``config``. `UNCOMPARED_KEYS` are left out.
        device: What this rank computes on.

    Raises:
        ValueError: On every rank alike; it names a rank, its host and the keys that differ.
    """
    compared = {
        key: value
        for key, value in _leaves(settings)
        if not f"{key}.".startswith(UNCOMPARED_KEYS)
    }
    config = {key: item for key, item in compared.items() if key.startswith("config.")}
    digest = _digest(compared)
    told = gather_over_ranks((describe_rank(device, _digest(config)[:8]), digest))
    rows: list[RankRow] = [row for row, _ in told]
    if is_first():
        logger.info("%s", rank_table(rows))
    others = [row for row, other in told if other != told[0][1]]
    if not others:
        return
    texts = [json.loads(line) for line in gather_over_ranks(_text(compared))]
    differing = ", ".join(str(row.rank) for row in others)
    raise ValueError(
        f"the ranks were not given the same configuration: rank {differing} of "
        f"{len(rows)} has not that of rank 0. Rank {others[0].rank} on {others[0].host}: "
        f"{_differences(texts[0], texts[others[0].rank])}. "
        "Start every process with the same command line, program and data"
    )


def describe_rank(device: torch.device, config_hash: str) -> RankRow:
    """This process.

    Args:
        device: What it computes on.
        config_hash: Of its configuration.
    """
    launch = read_launch(os.environ)
    local_rank = int(os.environ.get("LOCAL_RANK") or 0)
    name = str(device)
    if device.type == "cuda":
        name = f"{name} {torch.cuda.get_device_name(device)}"
    return RankRow(
        rank=rank_of(os.environ),
        host=platform.node(),
        local_rank=local_rank if launch is None else launch.local_rank,
        device=name,
        config_hash=config_hash,
    )


def rank_table(rows: Sequence[RankRow]) -> str:
    """All processes of a run, one line each.

    >>> print(rank_table([RankRow(0, "node1", 0, "cpu", "1a2b3c4d")]))
    rank  host   local rank  device  config
    0     node1  0           cpu     1a2b3c4d
    """
    lines = [("rank", "host", "local rank", "device", "config")]
    lines += [
        (str(row.rank), row.host, str(row.local_rank), row.device, row.config_hash)
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
        for line in lines
    )


def _text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=repr)


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(_text(settings).encode()).hexdigest()


def _differences(first: dict[str, Any], other: dict[str, Any]) -> str:
    """The keys that differ, with both values."""
    absent = "absent"
    keys = [
        key
        for key in [*first, *(key for key in other if key not in first)]
        if first.get(key, absent) != other.get(key, absent)
    ]
    return joined(
        [
            f"{key.removeprefix('config.')}={word(other.get(key, absent))} "
            f"(rank 0: {word(first.get(key, absent))})"
            for key in keys
        ]
    )


def _leaves(mapping: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of the leaves of nested mappings."""
    items: Iterable[tuple[Any, Any]] = mapping.items()
    for key, value in items:
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
