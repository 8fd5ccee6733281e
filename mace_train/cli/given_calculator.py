"""The ASE calculator that a command's config names, and the device to compute on.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mace_train.cli.problems import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase.calculators.calculator import Calculator


def make_calculator(group: dict[str, Any], *, command: str) -> Calculator:
    """Build what ``calculator._target_`` names, from the other keys of its group.

    Args:
        group: The config group.
        command: For messages, e.g. ``mace-check``.

    Raises:
        ConfigError: If it cannot be made, or is no ASE calculator.
    """
    try:
        calculator = instantiate(group, _convert_="all")
    except InstantiationException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError([Problem("calculator", reason)], command) from error
    for name in ("get_property", "calculate"):
        if not hasattr(calculator, name):
            what = f"{group['_target_']} makes a {type(calculator).__name__}"
            problem = Problem("calculator._target_", f"{what}, which is no ASE calculator")
            raise ConfigError([problem], command)
    return calculator


def chosen_device(name: str, *, command: str) -> torch.device:
    """The device to compute on; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: If it cannot be used here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        problem = Problem("device", f"{name!r} cannot be used here: {reason}")
        raise ConfigError([problem], command) from error
    return device


def chosen_head(heads: Sequence[str], head: str | None, *, command: str) -> str:
    """The asked head; the only one if none is asked.

    Raises:
        ConfigError: If there is no such head, or several and none is asked.
    """
    if head is None and len(heads) == 1:
        return heads[0]
    if head is not None and head in heads:
        return head
    what = "the model has several" if head is None else f"the model has no head {head!r}"
    hint = "" if head is None else nearest(head, heads)
    problem = Problem("head", f"{what}; choose one of {' | '.join(heads)}{hint}")
    raise ConfigError([problem], command)
