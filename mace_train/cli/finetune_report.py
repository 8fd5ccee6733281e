"""How a fine-tuning ends: what was learned and forgotten, beside the parent.

Floor 6; only the first rank does this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train.cli.construction import construct
from mace_train.cli.finetune import data_sources
from mace_train.cli.frame_progress import frame_progress
from mace_train.finetuning.before_after import compare_models
from mace_train.finetuning.checks_before_after import check_before_after
from mace_train.finetuning.compared import ComparedSet
from mace_train.finetuning.comparison_report import write_comparison
from mace_train.finetuning.guard_sets import given_guard, made_guard
from mace_train.finetuning.parent_labels import structures_of
from mace_train.finetuning.start import user_frames
from mace_train.transfer.heads import with_one_head

if TYPE_CHECKING:
    from mace_train.finetuning.settings import FineTuning
    from mace_train.finetuning.start import Start
    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule

_CHECKED_FRAMES = 100


def model_to_keep(config: dict[str, Any], model: MACE) -> MACE:
    """The model for the model file: without the parent's head, if that is asked for."""
    if len(model.heads) == 1 or config["finetune"]["keep_parent_head"]:
        return model
    return with_one_head(model, model.heads[0])


def compare_with_parent(
    config: dict[str, Any],
    folder: Path,
    start: Start,
    model: MACE,
    *,
    guard: ComparedSet,
    datamodule: MACEDataModule,
    device: str,
) -> dict[str, dict[str, Any]]:
    """Evaluate parent and fine-tuned model; log tables, draw a figure.

    Args:
        config: Of the run.
        folder: Of the run.
        start: Where the fine-tuning began.
        model: What became of it.
        guard: What `open_guard` gave.
        datamodule: The frames.
        device: Where to compute.

    Returns:
        What results.json holds besides the splits.
    """
    settings: FineTuning = construct(config["finetune"])
    sets = [
        ComparedSet(
            name,
            user_frames(frames),
            model.heads[:1],
            origin=f"{len(user_frames(frames))} {name} frames",
        )
        for name, frames in datamodule.data.sets.items()
        if len(frames) and name != "train"
    ]
    sets.append(guard)
    with frame_progress("comparing with the parent") as progress:
        compared = compare_models(
            start.parent,
            model,
            sets,
            batch_size=datamodule.valid_batch_size,
            device=device,
            progress=progress,
        )
    checks = None
    if settings.checks:
        frames = user_frames(datamodule.data.sets["train"])
        sample = frames.random_sample(_CHECKED_FRAMES, seed=config["seed"])
        checks = check_before_after(
            start.parent, model, structures_of(sample), head=model.heads[0]
        )
    told = write_comparison(
        folder,
        compared,
        checks=checks,
        checkpoint=folder / "model.safetensors",
        figures=config["report"]["figures"],
    )
    return {"fine_tuning": {"parent": config["init_from"], **start.as_dict(), **told}}


def open_guard(config: dict[str, Any], folder: Path, start: Start) -> ComparedSet:
    """Frames that tell what the model has forgotten; before training, so that all is well.

    Args:
        config: Of the run.
        folder: Of the run, for the parent's labels.
        start: Where the fine-tuning begins.

    Raises:
        ValueError: If ``data.guard`` cannot be used.
    """
    settings: FineTuning = construct(config["finetune"])
    model = start.model
    cache = config["data"]["cache_dir"]
    common = {
        "elements": model.elements,
        "heads": model.heads,
        "cache_dir": None if cache is None else Path(cache),
    }
    spec = config["data"].get("guard")
    if spec is None:
        return made_guard(
            folder / "guard.extxyz",
            Path(config["init_from"]),
            start.parent,
            max_frames=settings.guard_frames,
            seed=config["seed"],
            **common,
        )
    keys = data_sources(config["data"]).keys
    common |= {"keys": keys, "known": start.known}
    return given_guard(spec, folder / "guard.extxyz", start.parent, **common)
