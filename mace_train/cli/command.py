"""What all commands share: a bare Hydra application whose config is checked before it runs.

Floor 6. A command is its config file ``NAME.yaml``, its keys in `cli.keys` and
``run(config)`` in ``cli/run_NAME.py``. Hydra, and what stands on torch, is imported by name
when it is its turn: help and wrong configs are answered at once. ``sys.argv`` is never
changed, since Lightning starts the other ranks by repeating it.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mace_train import __version__
from mace_train.cli.allocator import keep_freed_memory
from mace_train.cli.help import help_text
from mace_train.cli.problems import ConfigError
from mace_train.cli.submit import is_submission, submit
from mace_train.training.launch import rank_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONFIG_MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130
TRACEBACK_VARIABLE = "MACE_TRAIN_TRACEBACK"


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside; the message says how to go on.

    Args:
        message: For the user.
        exit_code: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, message: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_command(config_name: str) -> None:
    """Run a command as the words of the command line say.

    Exits with 0 if all went well, 2 if the config is wrong, 1 if the input or the run is,
    and 130 if interrupted; a traceback is shown only if MACE_TRAIN_TRACEBACK is set.

    Args:
        config_name: ``train``, ``prepare`` or ``evaluate``.
    """
    _wait_without_spinning()
    keep_freed_memory()
    words = sys.argv[1:]
    if "-h" in words or "--help" in words:
        _write(help_text(config_name, words))
        return
    if "--version" in words:
        _write(f"mace-train {__version__}")
        return
    try:
        application = importlib.import_module("mace_train.cli.hydra_application")
        application.check_command_line(config_name, words)
    except ConfigError as error:
        _fail(error, CONFIG_MISTAKE)
    except KeyboardInterrupt as error:
        _fail(error, INTERRUPTED)
    application.start(config_name, run_reporting_errors)


def _wait_without_spinning() -> None:
    """Let idle CPU threads sleep, unless OMP_WAIT_POLICY in the environment says otherwise.

    Spinning threads gain little on a free machine and lose all on a busy one: beside one
    other process on two cores, a training step took 4.2 s with them and 0.07 s without.
    OpenMP reads the variable when torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def run_overrides(
    config_name: str, overrides: Sequence[str], *, config_dir: str | None = None
) -> Any:
    """Run a command from Python and return its results.

    Args:
        config_name: ``train``, ``prepare`` or ``evaluate``.
        overrides: What would stand on the command line.
        config_dir: Folder with the user's own config groups.

    Raises:
        ConfigError: With everything that is wrong with the configuration.
        ValueError: If the input or the run is wrong.
    """
    config = importlib.import_module("mace_train.cli.config")
    composed = config.compose(config_name, overrides, config_dir=config_dir)
    flags = [] if config_dir is None else [f"--config-dir={Path(config_dir).absolute()}"]
    return run_config(config_name, composed, [*flags, *overrides])


def run_config(config_name: str, config: dict[str, Any], words: Sequence[str] = ()) -> Any:
    """Run a command on a checked config and return its results.

    Args:
        config_name: ``train``, ``prepare`` or ``evaluate``.
        config: What `cli.config.compose` gives.
        words: The command line that says the same, for a job that runs it elsewhere.
    """
    if is_submission(config) and not config.get("estimate"):
        return submit(config, words) if is_first_rank() else {}
    return importlib.import_module(f"mace_train.cli.run_{config_name}").run(config)


def run_reporting_errors(
    config_name: str, config: dict[str, Any], words: Sequence[str] = ()
) -> None:
    """Run a command; what a user can cause ends with one message and an exit code."""
    try:
        with _logging_to_console():
            run_config(config_name, config, words)
    except ConfigError as error:
        _fail(error, CONFIG_MISTAKE)
    except (ValueError, OSError, ImportError) as error:
        _fail(error, FAILURE)
    except KeyboardInterrupt as error:
        # All ranks stop alike, and the first one says so: where one ends with an error,
        # srun --kill-on-bad-exit ends the others, and it may still be writing.
        is_told = isinstance(error, Interrupted) and not is_first_rank()
        _fail(error, 0 if is_told else getattr(error, "exit_code", INTERRUPTED))


def is_first_rank() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank_of(os.environ) == 0


@contextmanager
def _logging_to_console() -> Iterator[None]:
    """Show the package's messages, warnings on the standard error; first rank only."""
    messages, warnings = (
        logging.StreamHandler(sys.stdout),
        logging.StreamHandler(sys.stderr),
    )
    messages.addFilter(lambda record: record.levelno < logging.WARNING)
    warnings.setLevel(logging.WARNING)
    warnings.setFormatter(logging.Formatter("warning: %(message)s"))
    handlers = [messages, warnings] if is_first_rank() else [logging.NullHandler()]
    package = logging.getLogger("mace_train")
    before = package.level, package.propagate
    package.setLevel(logging.INFO)
    package.propagate = False
    for handler in handlers:
        package.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            package.removeHandler(handler)
        package.setLevel(before[0])
        package.propagate = before[1]


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _fail(error: BaseException, exit_code: int) -> NoReturn:
    """Say what is wrong, where it is wanted with the traceback, and exit."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(type(error), error, error.__traceback__)
    text = str(error) or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        text = str(error) or "interrupted"
    elif not isinstance(error, ConfigError):
        text = f"error: {text}"
    if is_first_rank():
        sys.stderr.write(text + "\n")
    elif exit_code == FAILURE:  # perhaps of this rank alone
        sys.stderr.write(f"rank {rank_of(os.environ)}: {text}\n")
    sys.exit(exit_code)
