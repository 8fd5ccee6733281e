"""Hydra's side of a command: its flags, single runs and sweeps.

Floor 6. Hydra composes once more what was already checked. It writes nothing for a single
run (configs/hydra/default.yaml), since a run's folder is made from the config.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from mace_train.cli.composition import (
    CONFIG_PATH,
    Composition,
    compose_unchecked,
    expand_sweep,
    with_open_keys,
)
from mace_train.cli.config import finish
from mace_train.cli.problems import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from omegaconf import DictConfig

LOCAL_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def check_command_line(command: str, words: Sequence[str]) -> None:
    """Check the words of a command line and the configs they make; run nothing.

    Args:
        command: ``train``, ``prepare`` or ``evaluate``.
        words: The command line without the program's name.

    Raises:
        ConfigError: With everything that is wrong.
    """
    parser = get_args_parser()
    flags = {flag for action in parser._actions for flag in action.option_strings}
    _raise([_wrong_flag(word, flags) for word in words], command)
    args, split_off = parser.parse_known_args(list(words))
    where = "flags such as -m stand before all keys and groups, or behind them"
    _raise([Problem(word, f"is cut off by a flag: {where}") for word in split_off], command)
    _raise([_wrong_word(word) for word in args.overrides], command)
    if args.config_path:
        message = "our own configs would be lost; --config-dir DIR adds yours to them"
        _raise([Problem("--config-path", message)], command)
    if args.hydra_help or args.shell_completion or args.experimental_rerun:
        return
    for overrides in _jobs(args):
        name = args.config_name or command
        composition = compose_unchecked(name, overrides, config_dir=args.config_dir)
        if not (args.cfg or args.info):
            finish(command, composition)
        else:
            _raise(composition.problems, command)


def start(command: str, run: Callable[[str, dict[str, Any], Sequence[str]], None]) -> None:
    """Give the command line to Hydra, which calls ``run`` with each config.

    Args:
        command: ``train``, ``prepare`` or ``evaluate``.
        run: Takes the command, plain values, and the words that say the same.
    """

    def task(config: DictConfig) -> None:
        settings = HydraConfig.get()
        choices = {key: str(value) for key, value in settings.runtime.choices.items()}
        overrides = tuple(settings.overrides.task)
        checked = finish(command, Composition(config, choices, overrides))
        run(command, checked, [*_flags(command), *overrides])

    configured = hydra.main(
        version_base="1.3", config_path=CONFIG_PATH, config_name=command
    )
    with _open_keys_on_command_line(command):
        configured(task)()


@contextmanager
def _open_keys_on_command_line(command: str) -> Iterator[None]:
    """Let Hydra read keys that may be new to their group as if they had their ``++``.

    Of ``mace-train``, whose words Lightning repeats for the other ranks, none is changed.
    """
    before = sys.argv
    sys.argv = [before[0], *with_open_keys(command, before[1:])]
    try:
        yield
    finally:
        sys.argv = before


def _flags(command: str) -> list[str]:
    """Flags that say where configs come from, besides ours."""
    settings = HydraConfig.get()
    name = settings.job.config_name
    flags = [] if name == command else [f"--config-name={name}"]
    flags += [
        f"--config-dir={source.path}"
        for source in settings.runtime.config_sources
        if source.provider == "command-line"
    ]
    paths = [word for word in settings.overrides.hydra if "hydra.searchpath" in word]
    return [*flags, *paths]


def in_local_sweep() -> bool:
    """Whether this run is one of several that Hydra runs in one process after another."""
    if not HydraConfig.initialized():
        return False
    settings = HydraConfig.get()
    return (
        settings.mode == RunMode.MULTIRUN and settings.launcher._target_ == LOCAL_LAUNCHER
    )


def _raise(problems: Iterable[Problem | None], command: str) -> None:
    found = [problem for problem in problems if problem is not None]
    if found:
        raise ConfigError(found, f"mace-{command}")


def _jobs(args: Namespace) -> Iterable[Sequence[str]]:
    """Overrides of each run that a command line asks for."""
    swept = args.multirun or "hydra.mode=MULTIRUN" in args.overrides
    other_sweeper = any(word.startswith("hydra/sweeper=") for word in args.overrides)
    if not swept:
        return [args.overrides]
    return [] if other_sweeper else expand_sweep(args.overrides)


def _wrong_flag(word: str, flags: set[str]) -> Problem | None:
    """What is wrong with a word that looks like a flag."""
    flag = word.split("=")[0]
    if not word.startswith("--") or flag in flags or word == "--":
        return None
    name = flag.strip("-")
    message = (
        f"no such flag{nearest(flag, flags)} (keys are written without dashes: {name}=...)"
    )
    return Problem(word, message)


def _wrong_word(word: str) -> Problem | None:
    """What is wrong with a word that should be an override."""
    if "=" in word or word.startswith("~"):
        return None
    if Path(word).suffix in (".yaml", ".yml"):
        message = (
            "a config file is not an argument: put it in a folder DIR/experiment/ and write"
        )
        return Problem(word, f"{message} --config-dir DIR experiment={Path(word).stem}")
    if Path(word).suffix:
        message = f"write what it is for, e.g. data=extxyz data.train={word}"
        return Problem(word, message)
    return Problem(word, "is not key=value or group=choice; --help lists keys and groups")
