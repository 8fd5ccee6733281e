"""The end of a training: the model file of the best epoch, and what it comes to.

Floor 6; only the first rank does this.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.cli.construction import construct
from mace_train.cli.finetune_report import compare_with_parent, model_to_keep
from mace_train.cli.frame_progress import frame_progress
from mace_train.finetuning.start import user_frames
from mace_train.training.probe_graphs import PROBE_CANDIDATES, choose_probe_graphs
from mace_train.training.resume import read_checkpoint

if TYPE_CHECKING:
    from mace_train.cli.run_folder import RunFolder
    from mace_train.finetuning.compared import ComparedSet
    from mace_train.finetuning.start import Start
    from mace_train.model.mace import MACE
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
    tuning: Start | None = None,
    guard: ComparedSet | None = None,
) -> dict[str, dict[str, Any]]:
    """Write the model file of the best epoch, and its errors on each split.

    Args:
        config: Plain values with the keys of ``configs/train.yaml``.
        folder: Of the run.
        settings: Tell the device.
        datamodule: The frames.
        metadata: What the model file tells of its origin.
        tuning: How the model was fine-tuned; None: it was not.
        guard: Frames that tell what it has forgotten.

    Returns:
        What results.json holds.
    """
    model, num_epochs = _best_model(config, folder, tuning)
    metadata = {**metadata, "num_epochs": num_epochs}
    kept = model if tuning is None else model_to_keep(config, model)
    _save(config, folder, kept, datamodule=datamodule, metadata=metadata)
    device = "cuda" if settings.on_gpu else "cpu"
    extra = None
    if tuning is not None and guard is not None:
        extra = compare_with_parent(
            config,
            folder.path,
            tuning,
            model,
            guard=guard,
            datamodule=datamodule,
            device=device,
        )
    results = construct(config["report"]).write(
        folder.path,
        model,
        datamodule=datamodule,
        device=device,
        show_progress=frame_progress,
        extra=extra,
    )
    logger.info("model: %s", folder.model)
    logger.info("results, figures, checkpoints and log: %s", folder.path)
    head = f" head={kept.heads[0]}" if len(kept.heads) > 1 else ""
    logger.info("next: mace-evaluate checkpoint=%s data.test=FILE%s", folder.model, head)
    return results


def _best_model(
    config: dict[str, Any], folder: RunFolder, tuning: Start | None
) -> tuple[MACE, int]:
    """The best model and the epochs that it was trained; what no epoch was better than."""
    one = folder.checkpoints.best_stage_one
    best = folder.best if folder.best.is_file() or not one.is_file() else one
    if tuning is not None and not best.is_file():
        logger.warning(
            "no epoch was better on the validation frames than the model that training "
            "began with, so that %s holds that one: the parent with the new E0s. The last "
            "epoch is %s. Try a lower recipe.lr, more frames, or another finetune.method",
            folder.model.name,
            folder.last,
        )
        return tuning.untrained(), 0
    model = load_model(best, backend=config["model"]["backend"])
    return model, read_checkpoint(best)["num_epochs"]


def _save(
    config: dict[str, Any],
    folder: RunFolder,
    model: MACE,
    *,
    datamodule: MACEDataModule,
    metadata: dict[str, Any],
) -> None:
    frames = datamodule.data.sets["train"]
    if len(model.heads) == 1:  # frames that a head has learned that is not kept
        frames = user_frames(frames)
    candidates = frames.random_sample(PROBE_CANDIDATES, seed=datamodule.sources.seed)
    num_probes = config["checkpoint"]["probe_frames"]
    graphs = choose_probe_graphs(datamodule.graphs(candidates), num_probes)
    probes = make_probes(model, graphs) if graphs else None
    save_model(folder.model, model, metadata=metadata, probes=probes)
