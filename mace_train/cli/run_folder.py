"""`RunFolder`: the files of a run that the command itself writes and reads.

Floor 6. A run's folder is known from its config alone, so that the same command finds it
again. Only the first rank writes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import OmegaConf

from mace_train.cli.command import is_first_rank
from mace_train.cli.folder_lock import locked
from mace_train.cli.problems import flatten
from mace_train.training.checkpoint_folder import CheckpointFolder, StartingPoint
from mace_train.training.resume import read_checkpoint
from mace_train.training.whole_file import PARTIAL, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

logger = logging.getLogger(__name__)

RunState = Literal["running", "interrupted", "finished", "failed"]

_RESULTS = ("model.safetensors", "results.json")
_OUTPUTS = (
    "checkpoints", *_RESULTS, "errors.json", "metrics.csv", "config.yaml", "split.json",
    "status.json", "changes.jsonl", "*.png",
)  # fmt: skip
"""What a run writes, but for its log, which goes on."""


class RunFolder:
    """A run's folder.

    Args:
        path: ``run_dir``; made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = CheckpointFolder(path / "checkpoints")
        self.last = self.checkpoints.last
        self.best = self.checkpoints.best
        self.model = path / "model.safetensors"
        self.config = path / "config.yaml"
        self.changes = path / "changes.jsonl"
        self.status = path / "status.json"
        self.log = path / "log.txt"
        self._begun = path / ".begun"
        self.began_at: tuple[int, int] | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing into the folder; for the first rank.

        Raises:
            ValueError: If another process does; the message names it.
        """
        if not is_first_rank():
            yield
            return
        with locked(self.path):
            yield

    def find_start(self, resume: str) -> StartingPoint | None:
        """The checkpoint to go on from; None: begin anew.

        It depends on files and environment alone, so that all ranks find the same.

        Args:
            resume: ``auto`` takes this run's newest whole checkpoint if there is one,
                ``never`` none. A path outside this folder starts the run, which then goes
                on with its own checkpoints. A job that is started again goes on with its
                own, whatever it was told at first.

        Raises:
            ValueError: If the checkpoint at the path is damaged, or all of this run are.
        """
        if resume == "auto":
            return self.checkpoints.newest_whole()
        if self._begun_in_this_job() and self.checkpoints.candidates():
            return self.checkpoints.newest_whole()
        if resume == "never":
            return None
        asked = Path(resume)
        is_own = asked.resolve().parent == self.checkpoints.path.resolve()
        if not is_own and self.checkpoints.candidates():
            logger.info(
                "this run began from resume=%s and has checkpoints of its own", resume
            )
            return self.checkpoints.newest_whole()
        return StartingPoint(asked, read_checkpoint(asked))

    def _begun_in_this_job(self) -> bool:
        """Whether SLURM or torchrun starts a job again that has begun in this folder."""
        counts = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
        is_again = any(int(os.environ.get(name) or 0) > 0 for name in counts)
        return is_again and self._begun.is_file() and self._begun.read_text() == _job()

    def make_ready(
        self,
        config: dict[str, Any],
        *,
        start: StartingPoint | None,
        changes: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Make the folder ready and write ``config.yaml``.

        Args:
            config: Resolved.
            start: Where the run goes on; None: it begins anew, and what an earlier run
                left here goes to ``previous/``.
            changes: What `config_changes` found; logged, and added to ``changes.jsonl``.

        Raises:
            ValueError: If the run would begin anew from a file that has to be moved.
        """
        if not is_first_rank():
            return
        self.began_at = None if start is None else start.progress
        if start is None:
            self._set_aside(config)
        self.path.mkdir(parents=True, exist_ok=True)
        for leftover in self.path.glob(f"*{PARTIAL}"):
            leftover.unlink()
        self.checkpoints.begin(start)
        self._record(changes)
        write_whole(self.config, OmegaConf.to_yaml(config))
        write_whole(self._begun, _job())

    @property
    def state(self) -> str | None:
        """The state in ``status.json``; None where there is none."""
        try:
            return json.loads(self.status.read_text(encoding="utf-8"))["state"]
        except (OSError, ValueError, KeyError):
            return None

    def write_status(
        self,
        state: RunState,
        *,
        reason: str | None = None,
        epoch: int | None = None,
        step: int | None = None,
    ) -> None:
        """Write ``status.json``, by which a job knows whether to be started again.

        Args:
            state: What has become of the run.
            reason: Why it was interrupted or failed.
            epoch: Where the run stands.
            step: Optimizer steps done.
        """
        if not is_first_rank():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        record = {"state": state, "reason": reason, "epoch": epoch, "step": step}
        write_whole(self.status, json.dumps({**record, "time": time}, indent=2) + "\n")

    def _record(self, changes: Sequence[dict[str, Any]]) -> None:
        known = self.changes.read_text().splitlines() if self.changes.is_file() else []
        for change in changes:
            line = json.dumps(change)
            if line not in known:  # a run may be started again before its next checkpoint
                logger.info("changed: %s from %s to %s", *list(change.values())[1:])
                known.append(line)
        if known:
            write_whole(self.changes, "".join(f"{line}\n" for line in known))

    def _set_aside(self, config: dict[str, Any]) -> None:
        """Move what an earlier run wrote to ``previous/``, so that nothing is mistaken."""
        results = any((self.path / name).is_file() for name in _RESULTS)
        if not results and not self.checkpoints.candidates():
            return
        used = _files_named(config)
        for key, file in used.items():
            if self.checkpoints.path.resolve() in file.parents:
                raise ValueError(
                    f"{key}={file} lies in the folder of this run, which would begin anew "
                    "and move it away: give the run another name=..."
                )
        taken = [int(p.name) for p in self.path.glob("previous/*") if p.name.isdigit()]
        previous = self.path / "previous" / str(max(taken, default=0) + 1)
        previous.mkdir(parents=True)
        # The checkpoints first: without them, nobody goes on from half of a move.
        for pattern in _OUTPUTS:
            for output in self.path.glob(pattern):
                if output.resolve() in used.values():
                    shutil.copy2(output, previous)
                else:
                    output.rename(previous / output.name)
        logger.info("what an earlier run left in %s is in %s", self.path, previous)

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


def _files_named(config: dict[str, Any]) -> dict[str, Path]:
    """Files and folders that a config names, by key."""
    named: dict[str, Path] = {}
    for key, value in flatten(config):
        for word in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(word, str) and word and Path(word).exists():
                named[key] = Path(word).resolve()
    return named


def _job() -> str:
    """What SLURM or torchrun calls this job; nothing outside of a job."""
    names = ("SLURM_JOB_ID", "TORCHELASTIC_RUN_ID")
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
