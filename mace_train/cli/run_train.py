"""What ``mace-train`` does with its checked config: data, model, training, report.

Floor 6. Every rank runs this from the top, since Lightning starts the others by repeating
the command line; only the first writes and speaks.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mace_train.cli.allocator import describe_allocator
from mace_train.cli.arithmetic import default_dtype, denormals_flushed, threads_for
from mace_train.cli.command import is_first_rank
from mace_train.cli.construction import construct
from mace_train.cli.finetune import begin, tuning_record
from mace_train.cli.finetune_config import FINE_TUNING
from mace_train.cli.finetune_report import open_guard
from mace_train.cli.frame_progress import frame_progress
from mace_train.cli.hydra_application import in_local_sweep
from mace_train.cli.loggers import finish
from mace_train.cli.model_report import write_model_and_results
from mace_train.cli.parent import load_parent, parent_statistics
from mace_train.cli.provenance import provenance
from mace_train.cli.run_committee import run_committee
from mace_train.cli.run_end import ending_told
from mace_train.cli.run_estimate import estimate_run, set_max_edges
from mace_train.cli.run_folder import RunFolder
from mace_train.model.backends import chosen_backend
from mace_train.training.child_ranks import end_with_launcher
from mace_train.training.fitting import fit, require_epochs_left
from mace_train.training.module import MACEModule
from mace_train.training.parent_model import Parent
from mace_train.training.resume import require_same_architecture
from mace_train.training.same_run import config_changes, require_same_run
from mace_train.training.start_loss import StartLoss
from mace_train.transfer.trainable import num_trainable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning.pytorch import Callback

    from mace_train.finetuning.start import Start
    from mace_train.model.mace import MACE
    from mace_train.training.checkpoint_folder import StartingPoint
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.trainer import TrainerSettings

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def run(config: dict[str, Any], *, began: float | None = None) -> dict[str, dict[str, Any]]:
    """Train, write the model file and report.

    Args:
        config: Plain values with the keys of ``configs/train.yaml``.
        began: When the run began, in seconds since 1970; None: now.

    Returns:
        What results.json holds: the eight numbers of each split that has frames; nothing on
        ranks other than the first.

    Raises:
        ConfigError: If the config does not fit the model that training starts from.
        ValueError: If the data cannot be trained on, a checkpoint does not fit, another
            process writes into the folder, or the loss is not finite.
        Interrupted: If the run was stopped; the message says how to go on.
    """
    if config["estimate"]:
        number = config["finetune"].get("committee", 1)
        if number > 1:
            logger.info("the estimate is for one of the %d members", number)
        return estimate_run(config, *_data_and_model(config)[:2])
    folder = RunFolder(Path(config["run_dir"]))
    settings: TrainerSettings = construct(config["trainer"])
    settings.check_launch()
    if config["finetune"].get("committee", 1) > 1:
        return run_committee(config, run, num_ranks=settings.num_ranks)
    if in_local_sweep() and settings.num_ranks > 1:
        raise ValueError(
            f"a sweep (-m) with {settings.num_ranks} processes a run is refused: each "
            "process would run the whole sweep. Start one command for each run, or set "
            "trainer.devices=1"
        )
    end_with_launcher()
    began = began or time.time()
    with folder.locked(), folder.logging(), ending_told(folder), denormals_flushed():
        results = _run(config, folder, settings, began=began)
        folder.write_status("finished")
        return results


def _run(
    config: dict[str, Any], folder: RunFolder, settings: TrainerSettings, *, began: float
) -> dict[str, dict[str, Any]]:
    logger.info("run folder: %s", folder.path)
    logger.info("memory: %s", describe_allocator())
    start = folder.find_start(config["resume"])
    datamodule, model, tuning = _data_and_model(config)
    metadata = _metadata(config, datamodule, num_ranks=settings.num_ranks)
    if tuning is not None:
        metadata["fine_tuning"] = tuning_record(config, tuning)
    changes = _changes_since(start, metadata, config, model=model)
    metadata["config_changes"] = changes
    metadata["start_step"] = 0 if start is None else start.step
    logger.info(
        "model: %d parameters, of which %d are trained, %d elements",
        model.num_parameters,
        num_trainable(model),
        len(model.elements),
    )
    device = torch.device("cuda" if settings.on_gpu else "cpu")
    backend = chosen_backend(model.backend, device)
    logger.info("backend: %s", backend)
    with threads_for(backend):
        module = _module(config, datamodule, model, metadata=metadata)
        new = [] if start is None else [c for c in changes if c["step"] == start.step]
        num_epochs = 0 if start is None else start.num_epochs
        is_finished = num_epochs == settings.max_epochs and folder.best.is_file()
        folder.make_ready(config, start=start, changes=new)
        guard = None
        if tuning is not None and is_first_rank():
            guard = open_guard(config, folder.path, tuning)
        folder.write_status("running")
        if is_finished:
            logger.info(
                "this run is finished (%d epochs), so it is only reported; to train "
                "longer, raise trainer.max_epochs; to train anew, set resume=never or "
                "another name",
                num_epochs,
            )
        else:
            parts = {"module": module, "datamodule": datamodule, "start": start}
            more = [] if tuning is None else [StartLoss()]
            _train(config, folder, settings, **parts, began=began, callbacks=more)
        if not is_first_rank():
            return {}
        origin = {
            "datamodule": datamodule,
            "metadata": metadata,
            "tuning": tuning,
            "guard": guard,
        }
        return write_model_and_results(config, folder, settings, **origin)


def _metadata(
    config: dict[str, Any], datamodule: MACEDataModule, *, num_ranks: int
) -> dict[str, Any]:
    """What checkpoints and model file tell of the run, and a resume compares."""
    data = datamodule.data
    split = hashlib.sha256()
    for name in ("train", "valid"):
        split.update(data.sets[name].indices.astype("<i8").tobytes())
    return {
        **provenance(config, datamodule),
        "global_batch_size": datamodule.batch_size_of(num_ranks),
        "world_size": num_ranks,
        "split_checksum": split.hexdigest(),
        "valid_checksums": dict(data.sets["valid"].store.checksums),
    }


def _changes_since(
    start: StartingPoint | None,
    metadata: dict[str, Any],
    config: dict[str, Any],
    *,
    model: MACE,
) -> list[dict[str, Any]]:
    """All changes of the config since the run began; refuses what is another run.

    Raises:
        ValueError: If the checkpoint belongs to another run; nothing in the folder has
            changed then.
    """
    if start is None:
        return []
    saved, path = start.entry["metadata"], start.path
    require_same_run(saved, metadata, path=path)
    require_same_architecture(
        start.entry["hyperparameters"], model.hyperparameters, path=path
    )
    require_epochs_left(start.num_epochs, path, config["trainer"]["max_epochs"])
    changes = config_changes(saved, metadata, step=start.step)
    return [*saved.get("config_changes", []), *changes]


def _data_and_model(
    config: dict[str, Any],
) -> tuple[MACEDataModule, MACE, Start | None]:
    """Frames with their splits and statistics, the model, and how it is fine-tuned."""
    if config["finetune"]["_target_"] == FINE_TUNING:
        datamodule, tuning = begin(config)
        return datamodule, tuning.model, tuning
    parent = load_parent(config) if config["init_from"] else None
    datamodule: MACEDataModule = construct(config["data"])
    if parent is not None:
        statistics = parent_statistics(parent, config["init_from"])
        by_head = {datamodule.sources.heads[0]: statistics}
        datamodule.use_parent(Parent(parent.elements, by_head), r_max=parent.r_max)
    with frame_progress("preparing") as progress:
        datamodule.prepare_data(progress)
    datamodule.setup()
    if parent is not None:
        return datamodule, parent, None
    torch.manual_seed(config["seed"])
    data = datamodule.data
    by_head = data.statistics_by_head.values()
    with default_dtype(DTYPES[config["dtype"]]):
        model: MACE = construct(
            config["model"],
            atomic_numbers=data.elements.atomic_numbers,
            atomic_energies=[one.atomic_energies.tolist() for one in by_head],
            avg_num_neighbors=data.avg_num_neighbors,
            scale=[one.scale for one in by_head],
            shift=[one.shift for one in by_head],
            heads=data.heads,
        )
    return datamodule, model.to(DTYPES[config["dtype"]]), None


def _module(
    config: dict[str, Any],
    datamodule: MACEDataModule,
    model: MACE,
    *,
    metadata: dict[str, Any],
) -> MACEModule:
    """The model in training; a weighted label that no frame carries is refused."""
    loss, stage_two = construct(config["loss"]), construct(config["stage_two"])
    datamodule.check_labels(loss.weights)
    if stage_two.start_epoch is not None:
        datamodule.check_labels(stage_two.loss(loss).weights)
    store = datamodule.data.train_store

    def frame_name(index: int) -> str:
        frame = store.frame(index)
        return f"{frame.source}, frame {frame.index} ({frame.formula})"

    max_edges = datamodule.max_edges
    return MACEModule(
        model,
        loss,
        optimizer=construct(config["optim"]),
        schedule=construct(config["schedule"]),
        ema=construct(config["ema"]),
        stage_two=stage_two,
        early_stopping=construct(config["early_stopping"]),
        seed=config["seed"],
        max_edges=None if max_edges == "auto" else max_edges,
        metadata=metadata,
        frame_name=frame_name,
    )


def _train(
    config: dict[str, Any],
    folder: RunFolder,
    settings: TrainerSettings,
    *,
    module: MACEModule,
    datamodule: MACEDataModule,
    start: StartingPoint | None,
    began: float,
    callbacks: Sequence[Callback] = (),
) -> None:
    set_max_edges(module, datamodule, settings)
    if is_first_rank():
        datamodule.write_split(folder.path)
    destination = construct(config["logger"])
    loggers = destination.start(folder.path, name=config["name"], config=config)
    fit(
        module,
        datamodule,
        settings=settings,
        run_dir=folder.path,
        callbacks=[
            *callbacks,
            construct(config["checkpoint"]),
            *construct(config["callbacks"]).start(),
        ],
        loggers=loggers,
        write_history=destination.writes_csv,
        start=start,
        on_failure=lambda reason: folder.write_status("failed", reason=reason),
        began=began,
    )
    if is_first_rank():
        finish(loggers)
