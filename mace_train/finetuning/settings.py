"""`FineTuning`: how a model is fine-tuned, and the choice where the user left it open.

Floor 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from mace_train.constraints import Fraction, PositiveFloat, PositiveInt

Method = Literal["full", "freeze", "lora", "replay"]

FEW_FRAMES = 1000
"""With fewer training frames than this, ``auto`` takes low-rank updates: with the defaults
and 10 to 300 frames they learned more (`benchmarks/results/finetune.md`)."""


class MethodRecipe(TypedDict):
    """What a method of fine-tuning sets where the user does not."""

    lr: PositiveFloat
    ema_decay: Fraction
    clip_norm: PositiveFloat


class Recipes(TypedDict):
    """The recipe of each method; ``auto`` is shown until the method is chosen."""

    full: MethodRecipe
    freeze: MethodRecipe
    lora: MethodRecipe
    replay: MethodRecipe
    auto: MethodRecipe


class NoFineTuning:
    """A run that is no fine-tuning."""


@dataclass(frozen=True)
class FineTuning(NoFineTuning):
    """How a model that was trained on other data is trained on the user's.

    Args:
        recipes: Learning rate, decay of the averaged weights and clipping by method.
        method: ``full``: all weights move; ``freeze``: those of ``trainable``; ``lora``:
            low-rank updates of all linear maps, merged at the end; ``replay``: all, while a
            second head goes on learning the frames of ``data.replay``; ``auto``: chosen by
            the number of frames and by whether there are frames to replay.
        elements: ``all`` of the parent, or those of the ``data`` alone.
        e0s: Energies of the elements: ``estimated`` on what the parent's energies lack,
            ``isolated_atoms`` in the data, ``parent``, or a JSON file (eV).
        trainable: Blocks that ``freeze`` leaves to move.
        lora_rank: Of the updates.
        parent_head: Head of the parent to start from; None: its only one.
        head: Name of the new head beside the parent's, for ``replay``.
        replay_labels: ``file``: those that the frames carry; ``parent``: what the parent
            says; ``auto``: the file's if all frames have energies and forces.
        keep_parent_head: Whether the model file keeps the parent's head after ``replay``.
        guard_frames: The most frames of the guard, if ``data.guard`` names none.
        checks: Whether the physical checks are made before and after.
        committee: Number of models trained one after another, with seeds and validation
            frames of their own.
        open_keys: Config keys that the user left to the method; the command fills this in.
    """

    recipes: Recipes
    method: Method | Literal["auto"] = "auto"
    elements: Literal["all", "data"] = "all"
    e0s: str = "estimated"
    trainable: Sequence[str] = ("products", "readouts")
    lora_rank: PositiveInt = 8
    parent_head: str | None = None
    head: str = "finetuned"
    replay_labels: Literal["auto", "file", "parent"] = "auto"
    keep_parent_head: bool = True
    guard_frames: PositiveInt = 100
    checks: bool = True
    committee: PositiveInt = 1
    open_keys: Sequence[str] = ()

    def choose_method(self, *, num_frames: int, has_replay: bool) -> tuple[Method, str]:
        """The method, and why it is this one.

        Args:
            num_frames: The user's training frames.
            has_replay: Whether there are frames to replay.

        >>> auto = FineTuning(recipes={})
        >>> auto.choose_method(num_frames=200, has_replay=False)[0]
        'lora'
        """
        if self.method != "auto":
            return self.method, f"finetune.method={self.method}"
        if has_replay:
            return "replay", "data.replay is given"
        if num_frames < FEW_FRAMES:
            return "lora", (
                f"{num_frames} training frames are fewer than {FEW_FRAMES}: low-rank "
                "updates learn most from so few"
            )
        return "full", f"{num_frames} training frames, at least {FEW_FRAMES}"
