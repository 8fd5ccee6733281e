"""The top-level keys of each command, as typed dictionaries.

Floor 6, the standard library only. The keys inside a group with a ``_target_`` are that
constructor's arguments and stand there; what a command itself reads stands here, or in
`cli.model_keys` if it works on a model without data. `cli.schema` reads all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from mace_train.cli.model_keys import Check, Export  # noqa: F401 - schema finds them
    from mace_train.constraints import (
        Fraction,
        NonNegativeFloat,
        NonNegativeInt,
        PositiveFloat,
        PositiveInt,
    )
    from mace_train.data.labels import EnergyUnit, LabelKey, LengthUnit
    from mace_train.data.problems import BadFrames
    from mace_train.training.prediction_files import PredictionFormat

Constructed = dict[str, Any]
"""A group that names its constructor by ``_target_``."""


class Units(TypedDict):
    """Units of the labels in the user's files."""

    energy: EnergyUnit
    length: LengthUnit


class Recipe(TypedDict):
    """What the published recipe of a model sets."""

    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    clip_norm: PositiveFloat | None
    ema_decay: Fraction | None
    energy_weight: NonNegativeFloat
    forces_weight: NonNegativeFloat
    stress_weight: NonNegativeFloat
    max_epochs: PositiveInt


class Train(TypedDict):
    """Keys of ``mace-train``."""

    name: str
    run_dir: str
    seed: NonNegativeInt
    dtype: Literal["float32", "float64"]
    resume: str
    estimate: bool
    init_from: str | None
    recipe: Recipe
    data: Constructed
    model: Constructed
    loss: Constructed
    optim: Constructed
    schedule: Constructed
    ema: Constructed
    stage_two: Constructed
    early_stopping: Constructed
    trainer: Constructed
    checkpoint: Constructed
    callbacks: Constructed
    finetune: Constructed
    report: Constructed
    logger: Constructed
    submit: Constructed


class PrepareData(TypedDict):
    """Input files of ``mace-prepare``, as in training."""

    train: str | list[str]
    group_key: str
    energy_key: LabelKey
    forces_key: LabelKey
    stress_key: LabelKey
    virials_key: str | None
    units: Units
    max_force: PositiveFloat | None


class Prepare(TypedDict):
    """Keys of ``mace-prepare``."""

    output: str
    workers: PositiveInt | Literal["auto"]
    frames_per_shard: PositiveInt
    r_max: list[PositiveFloat]
    bad_frames: BadFrames
    data: PrepareData


class EvaluateData(TypedDict):
    """Input files of ``mace-evaluate``."""

    test: str | list[str]
    max_edges: PositiveInt | Literal["auto"]
    batch_size: PositiveInt | None
    energy_key: LabelKey
    forces_key: LabelKey
    stress_key: LabelKey
    virials_key: str | None
    units: Units
    max_force: PositiveFloat | None
    cache_dir: str | None


class Evaluate(TypedDict):
    """Keys of ``mace-evaluate``."""

    checkpoint: str | list[str] | None
    calculator: Any
    output: str
    resume: Literal["auto", "never"]
    predictions: PredictionFormat
    node_energies: bool
    bad_frames: BadFrames
    workers: PositiveInt | Literal["auto"]
    dtype: Literal["auto", "float32", "float64"]
    device: str
    head: str | None
    figures: bool
    data: EvaluateData
