"""What ``mace-prepare`` does with its checked config.

Floor 6. Frames are read, checked and written as shards by several processes; interrupted,
the same command goes on with the shards that are missing.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mace_train.cli.command import Interrupted
from mace_train.cli.frame_progress import frame_progress
from mace_train.data.labels import LabelKeys
from mace_train.data.parallel import num_cores
from mace_train.data.prepare import PrepareReport, prepare_shards
from mace_train.data.refused import RefusedFramesError
from mace_train.data.sources import expand_sources

logger = logging.getLogger(__name__)


def run(config: dict[str, Any]) -> PrepareReport:
    """Prepare, and say what the shards hold and how they are used.

    Args:
        config: Plain values with the keys of ``configs/prepare.yaml``.

    Raises:
        ValueError: If files are missing or their frames are not fit for training; where
            only single frames are, the message says how to go on without them.
        Interrupted: If it was stopped; the message says how to go on.
    """
    data, output = config["data"], Path(config["output"])
    sources = expand_sources(data["train"])
    workers = num_cores() if config["workers"] == "auto" else config["workers"]
    logger.info("%d files, %d processes, shards in %s", len(sources), workers, output)
    try:
        with frame_progress("preparing") as progress:
            report = prepare_shards(
                sources,
                output,
                keys=label_keys(data),
                group_key=data["group_key"],
                max_force=data["max_force"],
                r_max=config["r_max"],
                frames_per_shard=config["frames_per_shard"],
                workers=workers,
                bad_frames=config["bad_frames"],
                progress=progress,
            )
    except KeyboardInterrupt:
        message = (
            f"interrupted: the same command goes on with the shards missing in {output}"
        )
        raise Interrupted(message) from None
    except RefusedFramesError as error:
        raise ValueError(_how_to_go_on(error, output)) from error
    _tell(report, output)
    return report


def _how_to_go_on(error: RefusedFramesError, output: Path) -> str:
    """What is wrong with single frames, and the two ways from there."""
    return (
        f"{error}\nRefused frames are listed in {error.listing}: {error.num_refused}. The "
        f"other {error.num_kept} are in the shards in {output}. Mend the frames and "
        "prepare into another folder; or accept these shards without them by the same "
        "command with bad_frames=leave_out, which writes nothing anew."
    )


def label_keys(data: dict[str, Any]) -> LabelKeys:
    """Names and units of the labels, from the keys of a config's ``data``."""
    return LabelKeys(
        energy=data["energy_key"],
        forces=data["forces_key"],
        stress=data["stress_key"],
        virials=data["virials_key"],
        energy_unit=data["units"]["energy"],
        length_unit=data["units"]["length"],
    )


def _tell(report: PrepareReport, output: Path) -> None:
    census = report.census
    logger.info("labels: %s", census.summary())
    if census.problems.count:
        logger.warning(
            "%d frames are left out since they cannot be used; all are listed in %s\n- %s",
            census.problems.count,
            report.refused_list,
            "\n- ".join(census.problems.lines(census.num_read)),
        )
    logger.info(
        "%d frames, %d atoms in %d shards (%d written now), %.1f MB, %.0f bytes a frame",
        census.num_frames,
        census.num_atoms,
        len(report.shards),
        report.num_written,
        report.num_bytes / 1e6,
        report.num_bytes / census.num_frames,
    )
    logger.info("train on them: mace-train data=extxyz data.train=%s", output)
