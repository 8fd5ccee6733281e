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
from mace_train.finetuning.force_evidence import check_forces
from mace_train.finetuning.replay import replay_sets, user_sets
from mace_train.finetuning.settings import FineTuning
from mace_train.finetuning.start import Start, make_start, user_frames
from mace_train.finetuning.user_frames import absent_labels, absent_labels_by_head
from mace_train.training.data_sets import DEFAULT_HEAD, read_sets
from mace_train.training.loss import PROPERTIES
from mace_train.training.parent_model import Parent

if TYPE_CHECKING:
    from mace_train.data.store import FrameStore
    from mace_train.model.mace import MACE
    from mace_train.training.data_sets import DataSet
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.frame_set import FrameSet
    from mace_train.training.training_data import DataSources

logger = logging.getLogger(__name__)

_COMPARED_FRAMES = 50


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
                f"finetune.head={heads[0]} is the name of the parent's head: give the head "
                f"of your frames another name, as finetune.head={heads[0]}2"
            )
        _join_replay(data, spec, config, parent=parent, settings=settings)
    else:
        _require_one_head(data, parent)
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
    weights = {name: config["loss"].get(f"{name}_weight", 0) for name in PROPERTIES}
    with frame_progress("asking the parent") as progress:
        start = make_start(
            parent,
            datamodule,
            settings,
            has_replay=spec is not None,
            seed=config["seed"],
            loss_weights=weights,
            progress=progress,
        )
    mine = user_frames(datamodule.data.sets["train"])
    sample = mine.random_sample(_COMPARED_FRAMES, seed=config["seed"])
    sets = read_sets("data.train", config["data"]["train"])
    if all(one.check_labels for one in sets):
        check_forces(start.parent, datamodule.graphs(sample))
    _settle(config, settings, start, datamodule)
    return datamodule, start


def _require_one_head(data: dict[str, Any], parent: MACE) -> None:
    """Refuse sets with heads that the model will not have, and drop the one it has.

    Raises:
        ValueError: Lists the heads.
    """
    (known,) = parent.heads
    for key in ("train", "valid", "test"):
        for one in read_sets(f"data.{key}", data[key]) if data[key] else ():
            if one.head not in (DEFAULT_HEAD, known):
                raise ValueError(
                    f"the set {one.name} of data.{key} names the head {one.head}, but the "
                    f"model has one head, {known}: leave head out; or keep the parent's "
                    "head beside one of your frames with data.replay=FILES and "
                    f"finetune.head={one.head}"
                )
        if isinstance(data[key], list):
            data[key] = [
                {name: value for name, value in one.items() if name != "head"}
                if isinstance(one, dict)
                else one
                for one in data[key]
            ]


def tuning_record(config: dict[str, Any], start: Start) -> dict[str, Any]:
    """What checkpoints and model file tell of the parent and the method."""
    path, settings = config["init_from"], config["finetune"]
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    record = {"parent": path, "parent_sha256": digest, **start.as_dict()}
    name = {"freeze": "trainable", "lora": "lora_rank"}.get(start.method)
    return record if name is None else {**record, name: settings[name]}


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
        show_progress=frame_progress,
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
    for name, (recipe_key, *ends) in RECIPE_KEYS.items():
        left = [end for end in ends if end in settings.open_keys]
        for key in [recipe_key, *left] if left else []:
            set_key(config, key, recipe[name])
        told += [f"{end}={recipe[name]:g}" for end in left if end != "stage_two.lr"]
    if told:
        logger.info("of the method %s: %s", start.method, ", ".join(told))
    _leave_out_terms(config, settings, datamodule.data.sets["train"])


def _leave_out_terms(
    config: dict[str, Any], settings: FineTuning, frames: FrameSet
) -> None:
    """Leave terms without labels out of the loss, where the user left them open."""
    absent = absent_labels(frames)
    for head, lacking in absent_labels_by_head(frames).items():
        weighed = {n for n in lacking - absent if config["loss"].get(f"{n}_weight", 0) > 0}
        for label in sorted(weighed):
            is_open = f"loss.{label}_weight" in settings.open_keys
            tell = logger.info if is_open else logger.warning
            tell("no frame of the head %s has a label for %s", head, label)
    if {"energy", "forces"} <= absent:
        return  # `check_labels` refuses that, with the names in the files
    for label in sorted(absent):
        if _has_look_alikes(frames, label):
            continue  # `check_labels` refuses it, and shows how to name the label
        for stage in ("loss", "stage_two"):
            key = f"{stage}.{label}_weight"
            is_weighed = config[stage].get(f"{label}_weight", 0) > 0
            if key in settings.open_keys and is_weighed:
                set_key(config, key, 0.0)
                if stage == "loss":
                    _tell_of_term(frames, label, key)


def _tell_of_term(frames: FrameSet, label: str, key: str) -> None:
    """Say that a term is left out; loudly, if a model is the poorer for it."""
    if label == "stress":
        logger.info("no frame has a label for stress: %s=0", key)
        return
    what = {"forces": "energies", "energy": "forces"}[label]
    logger.warning(
        "no frame has a label for %s: %s=0, so that the model learns from %s alone. Names "
        "in the files: %s. If one of them is meant: data.%s_key=NAME",
        label,
        key,
        what,
        frames.store.census.names_found(),
        label,
    )


def _has_look_alikes(frames: FrameSet, label: str) -> bool:
    """Whether the files have names that look like a label which was not found."""
    store = frames.store
    if label == "stress" and not store.fully_periodic[frames.indices].any():
        return False
    return bool(store.census.offers_for(label))
