"""`RunFolder`: the files of a run that the command itself writes and reads.

Floor 4. A run's folder is known from its config alone, so that the same command finds it
again. Only the first rank writes.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from mace_train.cli.command import is_first_rank
from mace_train.cli.problems import flatten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import Container

logger = logging.getLogger(__name__)


class RunFolder:
    """A run's folder.

    Args:
        path: ``run_dir``; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "checkpoints" / "last.ckpt"
        self.best = path / "checkpoints" / "best.ckpt"
        self.model = path / "model.safetensors"
        self.config = path / "config.yaml"
        self.log = path / "log.txt"

    def starting_point(self, resume: str) -> Path | None:
        """The checkpoint to go on from; None: begin anew.

        Args:
            resume: ``auto`` takes this run's last checkpoint if there is one, ``never``
                none. A path outside this folder starts the run, which then goes on with its
                own checkpoints, also when SLURM requeues it.
        """
        if resume == "never":
            return None
        requeued = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
        if resume == "auto":
            return self.last if self.last.is_file() else None
        asked = Path(resume)
        is_own = asked.resolve().parent == self.last.resolve().parent
        if self.last.is_file() and (requeued or not is_own):
            logger.info(
                "this run began from resume=%s and has checkpoints of its own", resume
            )
            return self.last
        return asked

    def begin(self, config: dict[str, Any], *, anew: bool) -> None:
        """Write ``config.yaml``; tell what differs from an earlier one.

        Args:
            config: Resolved.
            anew: The run does not go on from a checkpoint; checkpoints of an earlier one
                go.
        """
        if not is_first_rank():
            return
        if anew:
            for checkpoint in self.last.parent.glob("*.ckpt"):
                checkpoint.unlink()
        elif self.config.is_file():
            _tell_changes(OmegaConf.load(self.config), OmegaConf.create(config))
        self.path.mkdir(parents=True, exist_ok=True)
        partial = self.config.with_suffix(".yaml.partial")
        partial.write_text(OmegaConf.to_yaml(config), encoding="utf-8")
        partial.replace(self.config)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Append the package's messages to ``log.txt``, on the first rank."""
        if not is_first_rank():
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(self.log, encoding="utf-8")
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S")
        )
        package = logging.getLogger("mace_train")
        level = package.level
        package.setLevel(logging.INFO)
        package.addHandler(handler)
        try:
            yield
        except (ValueError, OSError, KeyboardInterrupt) as error:
            handler.handle(logging.makeLogRecord({"msg": str(error) or "interrupted"}))
            raise
        finally:
            package.removeHandler(handler)
            package.setLevel(level)
            handler.close()


def _tell_changes(earlier: Container, current: Container) -> None:
    """Log every key whose value is not what it was when the run began."""
    before, now = _leaves(earlier), _leaves(current)
    for key in [*before, *(key for key in now if key not in before)]:
        if before.get(key) != now.get(key) and key != "resume":
            logger.info("changed: %s from %s to %s", key, before.get(key), now.get(key))


def _leaves(config: Container) -> dict[str, Any]:
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return dict(flatten({str(key): value for key, value in plain.items()}))
