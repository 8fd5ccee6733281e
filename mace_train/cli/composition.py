"""Let Hydra compose what the user gave, and name every override that is wrong.

Floor 6. Hydra stops at its first error; here every override is judged by itself and left
out if it is wrong, so that the rest can be composed and checked too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from mace_train.cli.other_names import our_name
from mace_train.cli.problems import ConfigError, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hydra.core.override_parser.types import Override
    from omegaconf import Node

CONFIG_PATH = "pkg://mace_train.configs"
"""Where Hydra finds our configs, installed or in a checkout."""

OPEN_GROUPS = {
    "evaluate": "calculator.",
    "check": "calculator.",
    "train": "submit.options.",
}
"""Keys of a command that may be given though its config file does not hold them."""


@dataclass(frozen=True)
class Composition:
    """What Hydra makes of a config file and the overrides, before it is checked.

    Attributes:
        config: The config without the ``hydra`` node; interpolations are unresolved.
        choices: Which option stands in each config group.
        overrides: What the user gave, without what is wrong.
        problems: What is wrong with the others.
    """

    config: DictConfig
    choices: dict[str, str]
    overrides: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def given_keys(self) -> set[str]:
        """Keys and groups that the user gave."""
        return {text.partition("=")[0].lstrip("+~") for text in self.overrides}


def compose_unchecked(
    config_name: str, overrides: Sequence[str] = (), *, config_dir: str | None = None
) -> Composition:
    """Compose a config from all overrides that Hydra can apply, noting those it cannot.

    Raises:
        ConfigError: If the config files themselves do not fit together.
    """
    overrides = with_open_keys(config_name, overrides)
    loader = _loader(overrides, config_dir)
    right, problems = _parse(overrides)
    try:
        whole = _load(loader, config_name, right)
    except (HydraException, OmegaConfBaseException):
        right, wrong = _sift(loader, config_name, right)
        problems += wrong
        try:
            whole = _load(loader, config_name, right)
        except (HydraException, OmegaConfBaseException) as error:
            problems.append(Problem("", str(error) or str(error.__cause__)))
            raise ConfigError(problems, f"mace-{config_name}") from error
    choices = {key: str(value) for key, value in whole.hydra.runtime.choices.items()}
    with open_dict(whole):
        del whole["hydra"]
    applied = tuple(str(override.input_line) for override in right)
    return Composition(whole, choices, applied, tuple(problems))


def with_open_keys(config_name: str, overrides: Sequence[str]) -> list[str]:
    """Overrides with Hydra's ``++`` before keys that may be new to their group.

    >>> with_open_keys("evaluate", ["calculator.model=my.model", "dtype=auto"])
    ['++calculator.model=my.model', 'dtype=auto']
    """
    group = OPEN_GROUPS.get(config_name)
    return [f"++{text}" if group and text.startswith(group) else text for text in overrides]


def expand_sweep(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Overrides of every job of a sweep such as ``optim.lr=0.01,0.001 seed=range(3)``."""
    parsed, problems = _parse(overrides, sweep=True)
    if problems:
        raise ConfigError(problems)
    jobs: list[list[str]] = [[]]
    for override in parsed:
        if override.is_discrete_sweep():
            key = override.get_key_element()
            options = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            options = [str(override.input_line)]
        jobs = [[*job, option] for job in jobs for option in options]
    yield from jobs


def _loader(overrides: Sequence[str], config_dir: str | None) -> ConfigLoaderImpl:
    """Hydra's loader of our configs and of the user's (--config-dir, hydra.searchpath)."""
    search_path = create_automatic_config_search_path(None, None, CONFIG_PATH)
    folders: list[str] = []
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise ConfigError([Problem("--config-dir", f"{config_dir!r} is no folder")])
        folders.append(f"file://{Path(config_dir).absolute()}")
    for override in _parse(overrides)[0]:
        named = override.value() if override.key_or_group == "hydra.searchpath" else None
        folders += [str(folder) for folder in named] if isinstance(named, list) else []
    for folder in folders:
        anchor = SearchPathQuery(provider="schema")
        search_path.prepend(provider="command-line", path=folder, anchor=anchor)
    setup_globals()
    JobRuntime().set("name", "mace_train")
    return ConfigLoaderImpl(config_search_path=search_path)


def _parse(
    overrides: Sequence[str], *, sweep: bool = False
) -> tuple[list[Override], list[Problem]]:
    """Overrides that can be read, and what is wrong with the others."""
    parser = OverridesParser.create()
    parsed: list[Override] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            message = "cannot be read: write key=value or group=choice; quote a value with"
            message += " spaces or brackets: 'key=\"value\"'"
            problems.append(Problem(text, message))
            continue
        if override.is_sweep_override() and not sweep:
            message = (
                "several values make a sweep: add -m for one run each, or write a list"
            )
            problems.append(Problem(text, f"{message}: [a,b]"))
            continue
        parsed.append(override)
    return parsed, problems


def _wrong_choice(override: Override, loader: ConfigLoaderImpl) -> Problem | None:
    """Why a group has no such option."""
    group, value = override.key_or_group, override.value()
    repository = loader.repository
    if isinstance(value, (dict, list)) or value is None or override.is_delete():
        return None
    if repository.config_exists(f"{group}/{value}"):
        return None
    options = sorted(repository.get_group_options(group))
    hint = nearest(str(value), options)
    if group == "data" and Path(str(value)).suffix:
        hint = f"; for a file write data=extxyz data.train={value}"
    if group == "model" and Path(str(value)).suffix:
        hint = f"; to start from a model's weights write init_from={value}"
    return Problem(
        group, f"{str(value)!r} is not allowed; allowed: {' | '.join(options)}{hint}"
    )


def _absent_group(override: Override, config_name: str) -> Problem:
    """Why a command takes no choice of a group that another command has."""
    group, value = override.key_or_group, override.get_value_element_as_str()
    cure = _INSTEAD_OF_GROUP.get((config_name, group), "")
    return Problem(group, f"mace-{config_name} has no such group (value {value}){cure}")


_INSTEAD_OF_GROUP = {
    ("evaluate", "model"): "; a trained model is named by checkpoint=PATH",
    ("evaluate", "data"): "; name the frames with data.test=FILES",
    ("check", "model"): "; a trained model is named by checkpoint=PATH",
    ("check", "data"): "; name a structure with structure=FILE",
    ("export", "model"): "; a trained model is named by checkpoint=PATH",
    ("prepare", "data"): "; name the files with data.train=FILES",
}


def _unknown_key(override: Override, whole: DictConfig) -> Problem | None:
    """Why a key cannot be overridden: it does not exist."""
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or key.startswith("hydra"):
        return None
    node: Node | None = whole
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118
            break
        node = node._get_node(part)  # type: ignore[assignment] - the value may be missing
    else:
        return None
    known = [*map(str, whole), *(name for name, _ in _leaves(whole))]
    known = [name for name in known if name.partition(".")[0] != "hydra"]
    same_end = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    if not same_end and (ours := our_name(key)) in known:
        same_end = [ours]
    hint = (
        f"; did you mean {' or '.join(same_end[:3])}?" if same_end else nearest(key, known)
    )
    value = override.get_value_element_as_str() if not override.is_delete() else ""
    return Problem(key, f"unknown key (value {value}){hint}")


def _load(
    loader: ConfigLoaderImpl, config_name: str, overrides: list[Override]
) -> DictConfig:
    """Let Hydra compose."""
    lines = [str(override.input_line) for override in overrides]
    return loader.load_configuration(config_name, lines, RunMode.RUN)


def _sift(
    loader: ConfigLoaderImpl, config_name: str, overrides: list[Override]
) -> tuple[list[Override], list[Problem]]:
    """Overrides that can be applied, and what is wrong with the others."""
    repository = loader.repository
    is_group = [repository.group_exists(override.key_or_group) for override in overrides]
    groups = [override for override, yes in zip(overrides, is_group) if yes]
    own_groups = _load(loader, config_name, []).hydra.runtime.choices
    problems = {
        id(o): _wrong_choice(o, loader)
        if o.key_or_group in own_groups or o.is_add()
        else _absent_group(o, config_name)
        for o in groups
    }
    groups = [override for override in groups if not problems[id(override)]]
    try:
        whole = _load(loader, config_name, groups)
    except (HydraException, OmegaConfBaseException):
        whole = _load(loader, config_name, [])
    for override, yes in zip(overrides, is_group):
        if not yes:
            problems[id(override)] = _unknown_key(override, whole)
    right = [override for override in overrides if not problems[id(override)]]
    return right, [problem for problem in problems.values() if problem]


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and nodes of all leaves; lists are leaves."""
    for name in node:
        child = node._get_node(name)
        if (
            isinstance(child, DictConfig)
            and not child._is_none()
            and not child._is_missing()
        ):
            yield from _leaves(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
