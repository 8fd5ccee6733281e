"""What ``mace-train`` does with its checked config: data, model, training, report.

Floor 4. Every rank runs this from the top, since Lightning starts the others by repeating
the command line; only the first writes and speaks.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import get_object
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.cli.allocator import describe_allocator
from mace_train.cli.arithmetic import default_dtype, denormals_flushed, threads_for
from mace_train.cli.command import Interrupted, is_first_rank
from mace_train.cli.frame_progress import frame_progress
from mace_train.cli.hydra_application import in_local_sweep
from mace_train.cli.loggers import finish
from mace_train.cli.parent import load_parent, parent_statistics
from mace_train.cli.provenance import provenance
from mace_train.cli.run_folder import RunFolder
from mace_train.model.backends import chosen_backend
from mace_train.training.module import MACEModule
from mace_train.training.resume import read_checkpoint, require_same_architecture
from mace_train.training.trainer import fit, require_epochs_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.trainer import TrainerSettings

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float64": torch.float64}
TERMINATED = 143


def run(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Train, write the model file and report.

    Args:
        config: Plain values with the keys of ``configs/train.yaml``.

    Returns:
        What results.json holds: the eight numbers of each split that has frames; nothing on
        ranks other than the first.

    Raises:
        ConfigError: If the config does not fit the model that training starts from.
        ValueError: If the data cannot be trained on, a checkpoint does not fit, or the loss
            is not finite.
        Interrupted: If the run was stopped; the message says how to go on.
    """
    folder = RunFolder(Path(config["run_dir"]))
    settings: TrainerSettings = construct(config["trainer"])
    if in_local_sweep() and settings.num_processes * settings.num_nodes > 1:
        raise ValueError(
            f"a sweep (-m) with {settings.num_processes} processes a run is refused: each "
            "process would run the whole sweep. Start one command for each run, or set "
            "trainer.devices=1"
        )
    with (
        folder.logging(),
        _stopped_gracefully(folder),
        _out_of_memory_explained(),
        denormals_flushed(),
    ):
        return _run(config, folder, settings)


def construct(group: dict[str, Any], **more: Any) -> Any:
    """Build what a config group names by ``_target_``, from its other keys and ``more``."""
    arguments = {key: value for key, value in group.items() if key != "_target_"}
    return get_object(group["_target_"])(**arguments, **more)


def _run(
    config: dict[str, Any], folder: RunFolder, settings: TrainerSettings
) -> dict[str, dict[str, Any]]:
    logger.info("run folder: %s", folder.path)
    logger.info("memory: %s", describe_allocator())
    checkpoint = folder.starting_point(config["resume"])
    saved = None if checkpoint is None else read_checkpoint(checkpoint)
    datamodule, model = _data_and_model(config)
    if checkpoint is not None and saved is not None:
        _require_fit(saved, checkpoint, config, model=model)
    logger.info(
        "model: %d parameters, %d elements", model.num_parameters, len(model.elements)
    )
    device = torch.device("cuda" if settings.on_gpu else "cpu")
    backend = chosen_backend(model.backend, device)
    logger.info("backend: %s", backend)
    num_epochs = 0 if saved is None else saved["num_epochs"]
    with threads_for(backend):
        module = _module(config, datamodule, model)
        parts = {"module": module, "datamodule": datamodule, "start": checkpoint}
        return _train_and_report(config, folder, settings, **parts, num_epochs=num_epochs)


def _train_and_report(
    config: dict[str, Any],
    folder: RunFolder,
    settings: TrainerSettings,
    *,
    module: MACEModule,
    datamodule: MACEDataModule,
    start: Path | None,
    num_epochs: int,
) -> dict[str, dict[str, Any]]:
    folder.begin(config, anew=start is None)
    if num_epochs == settings.max_epochs and folder.best.is_file():
        logger.info(
            "this run is finished (%d epochs), so it is only reported; to train longer, "
            "raise trainer.max_epochs; to train anew, set resume=never or another name",
            num_epochs,
        )
    else:
        _train(config, folder, settings, module=module, datamodule=datamodule, start=start)
    return (
        _report(config, folder, settings, datamodule=datamodule) if is_first_rank() else {}
    )


def _require_fit(
    saved: dict[str, Any], checkpoint: Path, config: dict[str, Any], *, model: MACE
) -> None:
    """Refuse a checkpoint of another run, before anything in the run's folder changes."""
    dtype = saved["metadata"].get("config", config)["dtype"]
    if dtype != config["dtype"]:
        raise ValueError(
            f"{checkpoint} was trained with dtype={dtype}, not {config['dtype']}: go on "
            "with that, give another name=..., or begin anew with resume=never"
        )
    require_same_architecture(
        saved["hyperparameters"], model.hyperparameters, path=checkpoint
    )
    require_epochs_left(saved["num_epochs"], checkpoint, config["trainer"]["max_epochs"])


def _data_and_model(config: dict[str, Any]) -> tuple[MACEDataModule, MACE]:
    """Frames with their splits and statistics, and the model built for them."""
    parent = load_parent(config) if config["init_from"] else None
    datamodule: MACEDataModule = construct(config["data"])
    if parent is not None:
        statistics = parent_statistics(parent, config["init_from"])
        datamodule.use_parent(
            elements=parent.elements, r_max=parent.r_max, statistics=statistics
        )
    with frame_progress("preparing") as progress:
        datamodule.prepare_data(progress)
    datamodule.setup()
    if parent is not None:
        return datamodule, parent
    torch.manual_seed(config["seed"])
    statistics = datamodule.statistics
    with default_dtype(DTYPES[config["dtype"]]):
        model: MACE = construct(
            config["model"],
            atomic_numbers=statistics.atomic_numbers,
            atomic_energies=statistics.atomic_energies.tolist(),
            avg_num_neighbors=statistics.avg_num_neighbors,
            scale=statistics.scale,
            shift=statistics.shift,
        )
    return datamodule, model.to(DTYPES[config["dtype"]])


def _module(config: dict[str, Any], datamodule: MACEDataModule, model: MACE) -> MACEModule:
    """The model in training; a weighted label that no frame carries is refused."""
    loss, stage_two = construct(config["loss"]), construct(config["stage_two"])
    datamodule.check_labels(loss.weights)
    if stage_two.start_epoch is not None:
        datamodule.check_labels(stage_two.loss(loss).weights)
    store = datamodule.train_store

    def frame_name(index: int) -> str:
        frame = store.frame(index)
        return f"{frame.source}, frame {frame.index} ({frame.formula})"

    return MACEModule(
        model,
        loss,
        optimizer=construct(config["optim"]),
        schedule=construct(config["schedule"]),
        ema=construct(config["ema"]),
        stage_two=stage_two,
        early_stopping=construct(config["early_stopping"]),
        seed=config["seed"],
        metadata=provenance(config, datamodule),
        frame_name=frame_name,
    )


def _train(
    config: dict[str, Any],
    folder: RunFolder,
    settings: TrainerSettings,
    *,
    module: MACEModule,
    datamodule: MACEDataModule,
    start: Path | None,
) -> None:
    if is_first_rank():
        datamodule.write_split(folder.path)
    destination = construct(config["logger"])
    loggers = destination.start(folder.path, name=config["name"], config=config)
    fit(
        module,
        datamodule,
        settings=settings,
        run_dir=folder.path,
        callbacks=[construct(config["checkpoint"])],
        loggers=loggers,
        write_history=destination.writes_csv,
        checkpoint=start,
    )
    if is_first_rank():
        finish(loggers)


def _report(
    config: dict[str, Any],
    folder: RunFolder,
    settings: TrainerSettings,
    *,
    datamodule: MACEDataModule,
) -> dict[str, dict[str, Any]]:
    """Write the model file of the best epoch, and what it comes to on each split."""
    model = load_model(folder.best, backend=config["model"]["backend"])
    num_probes = config["checkpoint"]["probe_frames"]
    graphs = datamodule.probe_graphs(num_probes) if num_probes else []
    record = {
        **provenance(config, datamodule),
        "num_epochs": read_checkpoint(folder.best)["num_epochs"],
    }
    save_model(
        folder.model,
        model,
        metadata=record,
        probes=make_probes(model, graphs) if graphs else None,
    )
    device = "cuda" if settings.on_gpu else "cpu"
    results = construct(config["report"]).write(
        folder.path,
        model,
        datamodule=datamodule,
        device=device,
        show_progress=frame_progress,
    )
    logger.info("model: %s", folder.model)
    logger.info("results, figures, checkpoints and log: %s", folder.path)
    logger.info("next: mace-evaluate checkpoint=%s data.test=FILE", folder.model)
    return results


@contextmanager
def _stopped_gracefully(folder: RunFolder) -> Iterator[None]:
    """Say how to go on after Ctrl-C or SIGTERM, which Lightning turns into exits."""
    try:
        yield
    except SIGTERMException:
        raise Interrupted(_how_to_go_on("terminated", folder), TERMINATED) from None
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(
            error.__context__, KeyboardInterrupt
        ):
            raise
        raise Interrupted(_how_to_go_on("interrupted", folder)) from None


def _how_to_go_on(what: str, folder: RunFolder) -> str:
    if not folder.last.is_file():
        return f"{what} before the first epoch ended; the same command begins anew"
    num_epochs = read_checkpoint(folder.last)["num_epochs"]
    return (
        f"{what}; the same command goes on after epoch {num_epochs - 1} from {folder.last}"
    )


@contextmanager
def _out_of_memory_explained() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"the GPU's memory is full: {str(error).splitlines()[0]} Use a smaller "
            "data.batch_size or data.batch_size_per_rank, or more devices"
        ) from error
