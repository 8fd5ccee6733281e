"""The end of a training: the model file of the best epoch, and what it comes to.

Floor 6; only the first rank does this.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.cli.construction import construct
from mace_train.cli.frame_progress import frame_progress
from mace_train.training.resume import read_checkpoint

if TYPE_CHECKING:
    from mace_train.cli.run_folder import RunFolder
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.trainer import TrainerSettings

logger = logging.getLogger(__name__)


def write_model_and_results(
    config: dict[str, Any],
    folder: RunFolder,
    settings: TrainerSettings,
    *,
    datamodule: MACEDataModule,
    metadata: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    """Write the model file of the best epoch, and its errors on each split.

    Args:
        config: Plain values with the keys of ``configs/train.yaml``.
        folder: Of the run.
        settings: Tell the device.
        datamodule: The frames.
        metadata: What the model file tells of its origin.

    Returns:
        What results.json holds.
    """
    model = load_model(folder.best, backend=config["model"]["backend"])
    num_probes = config["checkpoint"]["probe_frames"]
    graphs = datamodule.probe_graphs(num_probes) if num_probes else []
    save_model(
        folder.model,
        model,
        metadata={**metadata, "num_epochs": read_checkpoint(folder.best)["num_epochs"]},
        probes=make_probes(model, graphs) if graphs else None,
    )
    results = construct(config["report"]).write(
        folder.path,
        model,
        datamodule=datamodule,
        device="cuda" if settings.on_gpu else "cpu",
        show_progress=frame_progress,
    )
    logger.info("model: %s", folder.model)
    logger.info("results, figures, checkpoints and log: %s", folder.path)
    head = f" head={model.heads[0]}" if len(model.heads) > 1 else ""
    logger.info("next: mace-evaluate checkpoint=%s data.test=FILE%s", folder.model, head)
    return results
