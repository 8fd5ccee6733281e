"""How a fine-tuning begins: parent, frames, method, and what the method sets.

Floor 6. `begin` stands where other runs build a model of the data's statistics.
"""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train.cli.construction import construct
from mace_train.cli.finetune_config import RECIPE_KEYS, set_key
from mace_train.cli.frame_progress import frame_progress
from mace_train.cli.parent import load_parent, parent_statistics
from mace_train.data.cache import open_store
from mace_train.data.parallel import num_cores
from mace_train.finetuning.replay import replay_sets, user_sets
from mace_train.finetuning.settings import FineTuning
from mace_train.finetuning.start import Start, make_start, user_frames
from mace_train.finetuning.user_frames import absent_labels
from mace_train.training.parent_model import Parent

if TYPE_CHECKING:
    from mace_train.data.store import FrameStore
    from mace_train.model.mace import MACE
    from mace_train.training.data_sets import DataSet
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.training_data import DataSources

logger = logging.getLogger(__name__)


def begin(config: dict[str, Any]) -> tuple[MACEDataModule, Start]:
    """The frames, and the model that is trained on them, as the parent and they tell.

    Args:
        config: Of the run; what its user left to the method is filled in.

    Raises:
        ConfigError: If the config asks for another architecture than the parent's.
        ValueError: If the frames cannot be learned from, or the parent has no such head.
    """
    settings: FineTuning = construct(config["finetune"])
    parent = load_parent(config, head=settings.parent_head)
    data, heads = dict(config["data"]), None
    spec, data["replay"] = data.get("replay"), None
    if spec is not None:
        heads = (settings.head, parent.heads[0])
        if heads[0] == heads[1]:
            raise ValueError(
                f"finetune.head={heads[0]} is the name of the parent's head: give your "
                "frames' head another name"
            )
        _join_replay(data, spec, config, parent=parent, settings=settings)
    datamodule: MACEDataModule = construct(data)
    statistics = parent_statistics(parent, config["init_from"])
    datamodule.use_parent(
        Parent(
            parent.elements,
            dict.fromkeys(heads or datamodule.sources.heads, statistics),
            keeps_all=settings.elements == "all",
        ),
        r_max=parent.r_max,
    )
    with frame_progress("preparing") as progress:
        datamodule.prepare_data(progress)
    datamodule.setup()
    start = make_start(
        parent, datamodule, settings, has_replay=spec is not None, seed=config["seed"]
    )
    _settle(config, settings, start, datamodule)
    return datamodule, start


def tuning_record(path: str, start: Start) -> dict[str, Any]:
    """What checkpoints and model file tell of the parent and the method."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return {"parent": path, "parent_sha256": digest, **start.as_dict()}


def data_sources(data: dict[str, Any]) -> DataSources:
    """The sources of a config's data."""
    return construct({**data, "replay": None}).sources


def _join_replay(
    data: dict[str, Any],
    spec: Any,
    config: dict[str, Any],
    *,
    parent: MACE,
    settings: FineTuning,
) -> None:
    """Make the user's sets and those that are replayed one list, each with its head."""
    open_set = partial(_open_set, data, parent=parent)
    for key in ("train", "valid", "test", "guard"):
        if data[key] is not None:
            data[key] = user_sets(f"data.{key}", data[key], head=settings.head)
    data["train"] += replay_sets(
        spec,
        labels=settings.replay_labels,
        parent=parent,
        folder=Path(config["run_dir"]) / "replay",
        open_set=open_set,
    )


def _open_set(data: dict[str, Any], one: DataSet, *, parent: MACE) -> FrameStore:
    """The frames of a set, with the labels that it carries."""
    keys = one.label_keys(data_sources(data).keys)
    cache = data.get("cache_dir")
    with frame_progress(f"preparing {one.name}") as progress:
        return open_store(
            one.path,
            keys=keys,
            r_max=parent.r_max,
            cache_dir=None if cache is None else Path(cache),
            workers=num_cores(),
            progress=progress,
        )


def _settle(
    config: dict[str, Any],
    settings: FineTuning,
    start: Start,
    datamodule: MACEDataModule,
) -> None:
    """Fill in what the user left to the method, and leave out terms without labels."""
    recipe, told = settings.recipes[start.method], []
    for name, keys in RECIPE_KEYS.items():
        if keys[-1] in settings.open_keys:
            for key in keys:
                set_key(config, key, recipe[name])
            told.append(f"{keys[-1]}={recipe[name]:g}")
    if told:
        logger.info("of the method %s: %s", start.method, ", ".join(told))
    frames = user_frames(datamodule.data.sets["train"])
    for label in sorted(absent_labels(frames)):
        for stage in ("loss", "stage_two"):
            key = f"{stage}.{label}_weight"
            is_weighed = config[stage].get(f"{label}_weight", 0) > 0
            if key in settings.open_keys and is_weighed:
                set_key(config, key, 0.0)
                if stage == "loss":
                    logger.info("no frame has a label for %s: %s=0", label, key)
