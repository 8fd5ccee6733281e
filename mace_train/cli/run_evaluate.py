"""What ``mace-evaluate`` does with its checked config.

Floor 6. The model, or a calculator, predicts every frame of ``data.test`` part by part;
then predictions, errors and parity plots are written into one folder. Stopped in whatever
way, the same command goes on with the parts that are missing.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train.cli.arithmetic import threads_for
from mace_train.cli.command import INTERRUPTED, Interrupted
from mace_train.cli.evaluated import model_paths, open_calculator, open_models
from mace_train.cli.folder_lock import locked
from mace_train.cli.frame_progress import frame_progress
from mace_train.cli.run_end import EndingSignals, SignalledEnd
from mace_train.cli.run_folder import RunFolder
from mace_train.training.errors import Evaluation
from mace_train.training.part_work import PartWork
from mace_train.training.prediction_files import SUFFIXES, write_extxyz, write_parquet
from mace_train.training.prediction_parts import PartFolder
from mace_train.training.report import write_evaluation
from mace_train.training.stored_predictions import StoredPredictions
from mace_train.training.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.cli.evaluated import Evaluated

logger = logging.getLogger(__name__)

_SHOWN = 3  # frames that are left out, of which all are listed in a file


def run(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Evaluate and write; the table of errors goes to the log.

    Args:
        config: Plain values with the keys of ``configs/evaluate.yaml``.

    Returns:
        What results.json holds: the eight numbers of ``test``.

    Raises:
        ConfigError: If the calculator cannot be made, or the head is not one of the
            model's.
        ValueError: If a file cannot be read, a frame cannot be predicted, or the folder
            holds an unfinished evaluation of something else.
        Interrupted: If it was stopped; the message says how to go on.
    """
    folder = RunFolder(_output_folder(config))
    parts = PartFolder(folder.path / "parts")
    lock = locked(folder.path, cure="choose another folder with output=...")
    with lock, folder.logging(), _ending_told(parts):
        evaluated = (open_models if config["checkpoint"] else open_calculator)(
            config, parts
        )
        stored = _predict(config, evaluated, parts)
        results = _write(config, evaluated, stored, folder.path)
        parts.delete()
    return results


def _predict(
    config: dict[str, Any], evaluated: Evaluated, folder: PartFolder
) -> StoredPredictions:
    """Predict what is not predicted yet."""
    frames = evaluated.frames
    work = PartWork(
        evaluated.potential, evaluated.parts, folder, bad_frames=config["bad_frames"]
    )
    num_missing = sum(len(work.parts[number]) for number in work.missing)
    if num_missing < work.num_frames:
        logger.info(
            "%d of %d frames are predicted already",
            work.num_frames - num_missing,
            work.num_frames,
        )
    workers = min(evaluated.workers, max(len(work.missing), 1))
    backend = evaluated.backend
    began = time.monotonic()
    with (
        frame_progress("evaluating") as progress,
        threads_for(backend) if backend else nullcontext(),
    ):
        work.finish(workers=workers, progress=progress)
    if num_missing:
        seconds = max(time.monotonic() - began, 1e-9)
        processes = "1 process" if workers == 1 else f"{workers} processes"
        speed = num_missing / seconds
        logger.info(
            "%d frames in %.1f s, %.3g frames/s, %s", num_missing, seconds, speed, processes
        )
    return StoredPredictions(folder, work.parts, frames.store, frames.indices)


def _write(
    config: dict[str, Any], evaluated: Evaluated, stored: StoredPredictions, output: Path
) -> dict[str, dict[str, Any]]:
    """Write all results, from the finished parts."""
    _tell_left_out([*evaluated.frames.left_out, *stored.failures], output)
    suffix = SUFFIXES.get(config["predictions"])
    if suffix is not None:
        path = output / f"predictions{suffix}"
        if config["predictions"] == "parquet":
            keys = sorted(stored.store.group_keys)
            write_parquet(path, stored.frames, group_keys=keys, extras=evaluated.extras)
        else:
            write_extxyz(path, stored.frames)
    evaluation = Evaluation(stored, stored.store)
    results = write_evaluation(output, {"test": evaluation}, figures=config["figures"])
    logger.info("results, errors by element and frame, predictions, figures: %s", output)
    return results


def _tell_left_out(left_out: list[str], output: Path) -> None:
    listing = output / "left_out.txt"
    if not left_out:
        listing.unlink(missing_ok=True)
        return
    write_whole(listing, "".join(f"{line}\n" for line in left_out))
    shown = "\n- ".join(left_out[:_SHOWN])
    more = f"\n- and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    logger.warning(
        "%d frames are left out; all are listed in %s\n- %s%s",
        len(left_out),
        listing,
        shown,
        more,
    )


@contextmanager
def _ending_told(parts: PartFolder) -> Iterator[None]:
    """Turn signals that end the evaluation into a message that says how to go on.

    Raises:
        Interrupted: If there was one.
    """
    with EndingSignals() as signals:
        try:
            yield
        except SignalledEnd as error:
            signals.ignore()
            asked = error.interruption
            raise Interrupted(_how_to_go_on(parts, str(asked)), asked.exit_code) from None
        except KeyboardInterrupt:
            raise Interrupted(_how_to_go_on(parts, "interrupted"), INTERRUPTED) from None


def _how_to_go_on(parts: PartFolder, what: str) -> str:
    count = parts.num_finished
    if not count:
        return f"{what} before any part was finished; the same command begins anew"
    return f"{what}; the same command goes on after the {count} parts in {parts.path}"


def _output_folder(config: dict[str, Any]) -> Path:
    """``output``, or a folder named after what is scored on what."""
    if config["output"] != "auto":
        return Path(config["output"])
    if config["checkpoint"]:
        path = model_paths(config["checkpoint"])[0].absolute()
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
