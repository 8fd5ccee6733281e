"""The frames that ``mace-evaluate`` predicts, with or without labels.

Floor 6. Isolated atoms are among them; frames that cannot be used are refused, or left out
on the user's word and named.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mace_train.cli.frame_progress import frame_progress
from mace_train.cli.run_prepare import label_keys
from mace_train.data.cache import open_store
from mace_train.data.parallel import num_cores
from mace_train.data.refused import RefusedFramesError
from mace_train.training.frame_set import FrameSet, name_elements

if TYPE_CHECKING:
    from jaxtyping import Int

    from mace_train.data.problems import BadFrames
    from mace_train.data.store import FrameStore
    from mace_train.elements import ElementTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluatedFrames:
    """Frames that are predicted.

    Attributes:
        store: All frames of the files.
        indices: Places of the predicted ones, ascending.
        left_out: What is said of each frame that is left out.
    """

    store: FrameStore
    indices: Int[np.ndarray, " frames"]
    left_out: tuple[str, ...] = ()


def open_frames(config: dict[str, Any], *, r_max: float) -> EvaluatedFrames:
    """The frames of ``data.test``, prepared in the cache if they are not shards.

    Args:
        config: Plain values with the keys of ``configs/evaluate.yaml``.
        r_max: Cutoff in Å for which edges are counted.

    Raises:
        ValueError: If files cannot be read, or frames cannot be used and ``bad_frames`` is
            ``refuse``.
    """
    data = config["data"]
    try:
        with frame_progress("preparing") as progress:
            store = open_store(
                data["test"],
                keys=label_keys(data),
                max_force=data["max_force"],
                r_max=r_max,
                cache_dir=None if data["cache_dir"] is None else Path(data["cache_dir"]),
                workers=num_cores(),
                bad_frames=config["bad_frames"],
                progress=progress,
            )
    except ValueError as error:
        refused = error.__cause__
        if isinstance(refused, RefusedFramesError):
            raise ValueError(
                f"{refused}\nAll are listed in {refused.listing}. To evaluate the other "
                f"{refused.num_kept} frames, set bad_frames=leave_out"
            ) from error
        raise
    logger.info("data.test: %s", store.census.summary())
    num_isolated = int(store.isolated.sum())
    if num_isolated:
        logger.info("%d frames of isolated atoms are not scored", num_isolated)
    problems = store.census.problems
    left_out = tuple(
        f"{place}: {what}" + (f" ({detail})" if detail else "")
        for place, what, detail in problems.refused
    )
    return EvaluatedFrames(store, np.arange(len(store)), left_out)


def unknown_elements_left_out(
    frames: EvaluatedFrames, elements: ElementTable, *, who: str, bad_frames: BadFrames
) -> EvaluatedFrames:
    """The frames whose elements a model knows.

    Args:
        frames: All.
        elements: The model's.
        who: Whose elements they are, to begin a message with.
        bad_frames: What to do with the others.

    Raises:
        ValueError: If a frame holds another element and ``bad_frames`` is ``refuse``, or
            no frame is left.
    """
    chosen = FrameSet(frames.store, frames.indices)
    unknown = chosen.atomic_numbers - set(elements.atomic_numbers)
    if not unknown:
        return frames
    if bad_frames == "refuse":
        chosen.require_elements(
            elements,
            who=who,
            where="data.test",
            cure="Leave those frames out with bad_frames=leave_out, or take a model that "
            "was trained with them.",
        )
    held = chosen.with_elements(unknown)
    kept = np.setdiff1d(frames.indices, held.indices)
    if not len(kept):
        raise ValueError(
            f"{who} does not know {name_elements(unknown)}, and every frame of data.test "
            "holds one of them"
        )
    told = tuple(
        f"{frames.store.describe(int(index))}: {who} does not know all of its elements"
        for index in held.indices
    )
    return EvaluatedFrames(frames.store, kept, (*frames.left_out, *told))
