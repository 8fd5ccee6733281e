"""What ``mace-check`` does with its checked config.

Floor 6. The model becomes an ASE calculator, which `physics.suite` checks; a table is
shown, and ``checks.json`` and a figure are written. One check is of the file itself: its
probe frames.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console

from mace_train.checkpoints.model_file import ModelFileError, check_probes, load_model
from mace_train.cli.arithmetic import threads_for
from mace_train.cli.check_table import checks_table, failure_message, notes_of
from mace_train.cli.checked_potential import given_potential
from mace_train.cli.folder_lock import locked
from mace_train.cli.run_folder import RunFolder
from mace_train.model.backends import chosen_backend
from mace_train.physics.check_figure import draw_checks
from mace_train.physics.limits import limits_for
from mace_train.physics.outcome import Findings, Measurement
from mace_train.physics.potential import LeftOutError
from mace_train.physics.setting import Setting
from mace_train.physics.suite import CHECKS, CheckName, run_checks
from mace_train.training.checked_model import name_of_dtype
from mace_train.training.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mace_train.physics.outcome import Outcome

logger = logging.getLogger(__name__)


class ChecksFailedError(ValueError):
    """Some checks failed; the message says which and what to do.

    Args:
        outcomes: Of all checks.
        has_repulsion: Whether the model has the repulsion of nuclei.
    """

    def __init__(self, outcomes: list[Outcome], *, has_repulsion: bool = False) -> None:
        self.outcomes = outcomes
        super().__init__(failure_message(outcomes, has_repulsion=has_repulsion))


def run(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Check and write; the table goes to the log.

    Args:
        config: Plain values with the keys of ``configs/check.yaml``.

    Returns:
        What checks.json holds under ``checks``, by name.

    Raises:
        ConfigError: If the calculator cannot be made, or the head or an element is not one
            of the model's.
        ChecksFailedError: If a check failed; everything is written before.
        ValueError: If a file cannot be read, or the model does not know the structure.
    """
    output = _output_folder(config)
    lock = locked(output, cure="choose another folder with output=...")
    with lock, RunFolder(output).logging():
        given = given_potential(config)
        limits = limits_for(given.potential.dtype, config["limits"])
        logger.info("checking %s", given.describe())
        with _telling() as tell, threads_for(chosen_backend(given.backend, given.device)):
            setting = Setting(
                given.potential,
                given.structures,
                limits,
                pairs=given.pairs,
                pairs_note=given.pairs_note,
                are_built=given.are_built,
                nve_steps=config["nve_steps"],
                temperature=config["temperature"],
                tell=tell,
            )
            outcomes = list(
                run_checks(
                    setting,
                    _asked_checks(config),
                    checks={**CHECKS, "probes": _probes_check(config)},
                )
            )
        _report(output, outcomes, config)
        if any(outcome.state == "FAILED" for outcome in outcomes):
            raise ChecksFailedError(outcomes, has_repulsion=given.has_repulsion)
    return {outcome.check: outcome.as_dict() for outcome in outcomes}


def _asked_checks(config: dict[str, Any]) -> list[str]:
    """Names in the order of the suite."""
    asked, skipped = config["checks"], config["skip"]
    asked = get_args(CheckName) if asked == "all" else asked
    chosen = {asked} if isinstance(asked, str) else set(asked)
    skipped = {skipped} if isinstance(skipped, str) else set(skipped)
    return [name for name in get_args(CheckName) if name in chosen - skipped]


def _probes_check(config: dict[str, Any]) -> Callable[[Setting], Findings]:
    """Whether this machine gives what the model file says, in the file's own dtype."""

    def check(setting: Setting) -> Findings:
        del setting
        if not config["checkpoint"]:
            raise LeftOutError("only a model file of mace-train has probe frames")
        try:
            found = check_probes(config["checkpoint"])
        except ModelFileError as error:
            raise LeftOutError(str(error).rpartition(": ")[2]) from error
        if found is None:
            raise LeftOutError("the file has none (checkpoint.probe_frames=0)")
        where = f"{found.num_frames} frames"
        own = next(load_model(config["checkpoint"]).parameters()).dtype
        limits = limits_for(name_of_dtype(own), config["limits"])
        return Findings(
            (
                Measurement(
                    "energy", found.energy_per_atom, "eV/atom", limits.energy, where
                ),
                Measurement("forces", found.forces, "eV/Å", limits.forces, where),
                Measurement("stress", found.stress, "eV/Å³", limits.stress, where),
            )
        )

    return check


def _report(output: Path, outcomes: list[Outcome], config: dict[str, Any]) -> None:
    """Table, notes, figure and JSON."""
    name = config["checkpoint"] or config["calculator"]["_target_"]
    logger.info("\n%s\n", checks_table(outcomes))
    for note in notes_of(outcomes):
        logger.info("%s", note)
    written = {"checks": {one.check: one.as_dict() for one in outcomes}, "config": config}
    text = json.dumps(written, indent=1, ensure_ascii=False)
    write_whole(output / "checks.json", text + "\n")
    drawn = config["figures"] and draw_checks(
        output / "checks.png", outcomes, title=str(name)
    )
    what = "numbers and figure" if drawn else "numbers"
    seconds = sum(outcome.seconds for outcome in outcomes)
    logger.info("%s: %s (%.1f s)", what, output, seconds)


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """A function that is told what is being computed: shown where there is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(stderr=True).status("checking") as status:
        yield lambda text: status.update(f"checking: {text}")


def _output_folder(config: dict[str, Any]) -> Path:
    """``output``, or a folder named after what is checked."""
    if config["output"] != "auto":
        return Path(config["output"])
    if config["checkpoint"]:
        path = Path(config["checkpoint"]).absolute()
        folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        names = {
            "model": folder.name,
            "best": f"{folder.name}-best",
            "last": f"{folder.name}-last",
        }
        checked = names.get(path.stem, path.stem)
    else:
        checked = config["calculator"]["_target_"].rpartition(".")[2]
    return Path("runs") / f"check-{checked}"
