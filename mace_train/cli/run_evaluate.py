"""What ``mace-evaluate`` does with its checked config.

Floor 4. The model, or a calculator, is run on every frame of ``data.test``; results,
errors, predictions and parity plots are written into one folder.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mace_train.checkpoints.model_file import load_model
from mace_train.cli.arithmetic import threads_for
from mace_train.cli.frame_progress import frame_progress
from mace_train.cli.problems import ConfigError, Problem, nearest
from mace_train.cli.run_folder import RunFolder
from mace_train.data.cache import open_store
from mace_train.data.dataset import GraphDataset
from mace_train.data.labels import LabelKeys
from mace_train.model.backends import chosen_backend
from mace_train.training.evaluation import Evaluation, evaluate_calculator, evaluate_model
from mace_train.training.frame_set import FrameSet
from mace_train.training.predictions import write_predictions
from mace_train.training.report import write_evaluation
from mace_train.training.training_data import num_cores

if TYPE_CHECKING:
    from mace_train.model.mace import MACE

logger = logging.getLogger(__name__)

_DTYPES = {"auto": None, "float32": torch.float32, "float64": torch.float64}
_ANY_R_MAX = 6.0  # a store counts edges; a calculator finds its own


def run(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Evaluate and write; the table of errors goes to the log.

    Args:
        config: Plain values with the keys of ``configs/evaluate.yaml``.

    Returns:
        What results.json holds: the eight numbers of ``test``.

    Raises:
        ConfigError: If the calculator cannot be made, or the head is not one of the
            model's.
        ValueError: If a file cannot be read, no frame is left to score, or the model does
            not know an element of the data.
    """
    output = _output_folder(config)
    score = _score_model if config["checkpoint"] else _score_calculator
    with RunFolder(output).logging():
        evaluation = score(config)
        results = write_evaluation(output, {"test": evaluation}, figures=config["figures"])
        path = output / "predictions.extxyz"
        write_predictions(path, evaluation.predictions, evaluation.store)
        logger.info(
            "results, errors by element and frame, predictions, figures: %s", output
        )
    return results


def _score_model(config: dict[str, Any]) -> Evaluation:
    path = Path(config["checkpoint"])
    model = load_model(path, device="cpu", dtype=_DTYPES[config["dtype"]])
    head = _head_place(model, config["head"])
    frames = _open_frames(config, r_max=model.r_max)
    frames.require_elements(
        model.elements,
        who=f"the model {path}",
        where="data.test",
        cure="Leave those frames out, or take a model that was trained with them.",
    )
    dataset = GraphDataset(
        frames.store,
        frames.indices,
        elements=model.elements,
        r_max=model.r_max,
        dtype=next(model.parameters()).dtype,
    )
    device = _device(config["device"])
    backend = chosen_backend(model.backend, torch.device(device))
    with frame_progress("evaluating") as progress, threads_for(backend):
        return evaluate_model(
            model,
            dataset,
            batch_size=config["data"]["batch_size"],
            device=device,
            head=head,
            progress=progress,
        )


def _score_calculator(config: dict[str, Any]) -> Evaluation:
    try:
        calculator = instantiate(config["calculator"], _convert_="all")
    except InstantiationException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError([Problem("calculator", reason)], "mace-evaluate") from error
    for name in ("get_property", "calculate"):
        if not hasattr(calculator, name):
            what = f"{config['calculator']['_target_']} makes a {type(calculator).__name__}"
            problem = Problem("calculator._target_", f"{what}, which is no ASE calculator")
            raise ConfigError([problem], "mace-evaluate")
    frames = _open_frames(config, r_max=_ANY_R_MAX)
    with frame_progress("evaluating") as progress:
        return evaluate_calculator(
            calculator, frames.store, frames.indices, progress=progress
        )


def _open_frames(config: dict[str, Any], *, r_max: float) -> FrameSet:
    """The labelled frames of ``data.test``, without those of isolated atoms."""
    data = config["data"]
    keys = LabelKeys(
        energy=data["energy_key"],
        forces=data["forces_key"],
        stress=data["stress_key"],
        virials=data["virials_key"],
        energy_unit=data["units"]["energy"],
        length_unit=data["units"]["length"],
    )
    with frame_progress("preparing") as progress:
        store = open_store(
            data["test"],
            keys=keys,
            max_force=data["max_force"],
            r_max=r_max,
            cache_dir=None if data["cache_dir"] is None else Path(data["cache_dir"]),
            workers=num_cores(),
            progress=progress,
        )
    logger.info("data.test: %s", store.census.summary())
    frames = FrameSet.of_all(store)
    scored = frames.without_isolated_atoms()
    if len(scored) < len(frames):
        left_out = len(frames) - len(scored)
        logger.info("%d frames of isolated atoms are not scored", left_out)
    if not len(scored):
        raise ValueError(f"data.test={data['test']} holds no frame that can be scored")
    return scored


def _head_place(model: MACE, head: str | None) -> int:
    """Place of the asked head; the only one if none is asked."""
    heads = list(model.heads)
    if head is None and len(heads) == 1:
        return 0
    if head in heads:
        return heads.index(head)
    what = "the model has several" if head is None else f"the model has no head {head!r}"
    hint = "" if head is None else nearest(head, heads)
    problem = Problem("head", f"{what}; choose one of {' | '.join(heads)}{hint}")
    raise ConfigError([problem], "mace-evaluate")


def _device(name: str) -> torch.device:
    """The device to compute on; ``auto`` is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        problem = Problem("device", f"{name!r} cannot be used here: {reason}")
        raise ConfigError([problem], "mace-evaluate") from error
    return device


def _output_folder(config: dict[str, Any]) -> Path:
    """``output``, or a folder named after what is scored on what."""
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
        scored = names.get(path.stem, path.stem)
    else:
        scored = config["calculator"]["_target_"].rpartition(".")[2]
    test = config["data"]["test"]
    first = Path(test if isinstance(test, str) else test[0])
    data = first.name.split(".")[0].replace("*", "all")
    return Path("runs") / f"evaluate-{scored}-{data}"
