"""Where the metrics of a run go besides the log: the choices of ``logger``.

Floor 6; the one place that knows wandb, which Lightning imports when its logger starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.loggers import WandbLogger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lightning.pytorch.loggers import Logger


class CsvOnly:
    """A row an epoch in ``metrics.csv``, and nothing else."""

    writes_csv = True

    def start(self, run_dir: Path, *, name: str, config: Mapping[str, Any]) -> list[Logger]:
        """Loggers for Lightning.

        Args:
            run_dir: The run's folder.
            name: The run's name.
            config: The whole config, logged with the run.
        """
        del run_dir, name, config
        return []


class NoLogger(CsvOnly):
    """No metrics file, hence no learning curves."""

    writes_csv = False


class Wandb(CsvOnly):
    """Weights & Biases beside ``metrics.csv``; only rank zero connects.

    Args:
        project: Name of the project there.
        entity: User or team; None: that of the account.
        mode: ``offline`` needs neither account nor network; ``wandb sync`` uploads later.
    """

    def __init__(
        self,
        *,
        project: str = "mace-train",
        entity: str | None = None,
        mode: Literal["online", "offline"] = "online",
    ) -> None:
        self.project, self.entity, self.mode = project, entity, mode

    def start(self, run_dir: Path, *, name: str, config: Mapping[str, Any]) -> list[Logger]:
        """The logger of Lightning; a run that goes on keeps its page there."""
        logger = WandbLogger(
            name=name,
            id=name,
            save_dir=run_dir,
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            resume="allow" if self.mode == "online" else None,
        )
        logger.log_hyperparams(dict(config))
        return [logger]


def finish(loggers: list[Logger]) -> None:
    """Close what loggers hold open, so that the next run of this process starts its own."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
