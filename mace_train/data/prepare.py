"""From the user's files to a folder of shards: in parallel, in constant memory, resumable.

The work is planned before it begins, so that a shard is determined by the data and the
settings alone. One that is there was finished, whoever wrote it, and is not written again.
Frames that cannot be used are listed beside the shards.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mace_train import __version__
from mace_train.data.byte_streams import close_kept_stream
from mace_train.data.census import Census
from mace_train.data.file_kinds import is_shard
from mace_train.data.fingerprint import fingerprint
from mace_train.data.frame_reader import read_frames
from mace_train.data.labels import LabelKeys
from mace_train.data.parallel import run_parallel
from mace_train.data.plan import ReadSettings, ShardJob, plan_shards
from mace_train.data.problems import BadFrames, ProblemLog, TooManyRefusedError
from mace_train.data.refused import (
    RefusedFramesError,
    accept,
    withdraw_acceptance,
    write_list,
)
from mace_train.data.scan import Source, scan_sources
from mace_train.data.scan_notes import forget_scan, noted_scan
from mace_train.data.shard_writer import ShardHeader, ShardWriter
from mace_train.data.shards import Shard
from mace_train.neighbors import count_neighbors

_log = logging.getLogger(__name__)
_TICK = 20  # frames between two reports of progress


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did.

    Attributes:
        shards: All shards of the data, in order.
        census: What their frames carry, and what was left out or refused.
        num_written: Shards written now; the others were there.
        num_bytes: Size of all shards.
        refused_list: The file that lists refused frames, if there are any.
    """

    shards: list[Path]
    census: Census
    num_written: int
    num_bytes: int
    refused_list: Path


def prepare_shards(
    sources: Sequence[Path],
    output: Path,
    *,
    keys: LabelKeys,
    group_key: str = "auto",
    max_force: float | None = None,
    r_max: Sequence[float],
    frames_per_shard: int = 10_000,
    workers: int = 1,
    bad_frames: BadFrames = "refuse",
    progress: Callable[[int, int | None], None] | None = None,
) -> PrepareReport:
    """Write the frames of files as shards.

    Started again after it was interrupted, it goes on with the shards that are missing.

    Args:
        sources: Files of frames, and archives of such files.
        output: Folder of the shards; made if absent.
        keys: Names and units of the labels.
        group_key: Info key whose frames belong together, or ``auto``.
        max_force: Frames with a larger force, in eV/Å, are left out and counted.
        r_max: Cutoffs in Å for which edges are counted.
        frames_per_shard: Frames after which a new shard begins.
        workers: Processes.
        bad_frames: ``leave_out`` takes the shards without frames that cannot be used.
        progress: Called with frames done and frames in all, at least once a second.

    Raises:
        ValueError: If there are no sources, the output holds shards of other data or
            settings, or the frames are not fit for training; the message of the reader says
            why.
        RefusedFramesError: If single frames cannot be used and ``bad_frames`` is
            ``refuse``: the shards are finished, but not accepted for training.
    """
    _check_arguments(sources, frames_per_shard, workers)
    cutoffs = tuple(sorted({float(cutoff) for cutoff in r_max}))
    settings = ReadSettings(keys, group_key, max_force, cutoffs)
    output.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(output)
    scanned = noted_scan(
        output,
        fingerprint(sources, {"stride": frames_per_shard}),
        lambda: _scanned(sources, stride=frames_per_shard, workers=workers),
    )
    jobs = plan_shards(
        scanned, output, settings=settings, frames_per_shard=frames_per_shard
    )
    del scanned  # each job has its own part
    todo = [job for job in jobs if not _is_finished(job)]
    _check_no_others(output, jobs)
    if len(todo) < len(jobs):
        _log.info(
            "%d of %d shards in %s are there", len(jobs) - len(todo), len(jobs), output
        )
    total = sum(job.num_frames for job in jobs)
    done = total - sum(job.num_frames for job in todo)
    try:
        run_parallel(
            _write_shard,
            todo,
            workers=workers,
            progress=progress and (lambda count: progress(done + count, total)),
        )
    except TooManyRefusedError as error:
        write_list(output, _problems_so_far(jobs, error.problems))
        raise
    finally:
        close_kept_stream()
    return _report(jobs, num_written=len(todo), bad_frames=bad_frames)


def _check_arguments(sources: Sequence[Path], frames_per_shard: int, workers: int) -> None:
    if not sources:
        raise ValueError("there are no files to prepare")
    shard = next(filter(is_shard, sources), None)
    if shard is not None:
        raise ValueError(f"{shard} is a shard already: train on it, or name other files")
    if frames_per_shard < 1 or workers < 1:
        raise ValueError(
            f"frames_per_shard={frames_per_shard} and workers={workers} must be at least 1"
        )


def _scanned(sources: Sequence[Path], *, stride: int, workers: int) -> list[Source]:
    megabytes = sum(path.stat().st_size for path in sources) / 1e6
    _log.info("looking through %d files, %.1f MB", len(sources), megabytes)
    scanned = scan_sources(sources, stride=stride, workers=workers)
    count = sum(source.num_frames for source in scanned)
    _log.info("%d frames in %d files", count, len(scanned))
    return scanned


def _report(
    jobs: Sequence[ShardJob], *, num_written: int, bad_frames: BadFrames
) -> PrepareReport:
    """Merge what the shards say, and refuse the whole if its frames are unfit."""
    output = jobs[0].path.parent
    census = Census()
    census.expect(jobs[0].settings.keys, max_force=jobs[0].settings.max_force)
    for job in jobs:
        census.merge(Shard(job.path).census)
    refused_list = write_list(output, census.problems)
    if census.faults_of_all() or census.num_frames == 0:
        for job in jobs:  # no choice of ours could make these shards useful
            job.path.unlink()
        forget_scan(output)
        census.raise_problems()
        names = [str(piece.source.file) for piece in jobs[0].pieces[:3]]
        raise ValueError(f"no frames in {', '.join(names)} ({census.summary()})")
    if census.problems.count and bad_frames == "refuse":
        withdraw_acceptance(output)
        _raise_refused(census, refused_list)
    if census.problems.count:
        accept(output, jobs[0].preparation, num_refused=census.problems.count)
    forget_scan(output)
    shards = [job.path for job in jobs]
    num_bytes = sum(path.stat().st_size for path in shards)
    return PrepareReport(shards, census, num_written, num_bytes, refused_list)


def _raise_refused(census: Census, refused_list: Path) -> None:
    """Say what is wrong with single frames.

    Raises:
        RefusedFramesError: Always.
    """
    try:
        census.raise_problems()
    except ValueError as error:
        raise RefusedFramesError(
            str(error),
            num_refused=census.problems.count,
            num_kept=census.num_frames,
            listing=refused_list,
        ) from error


def _problems_so_far(jobs: Sequence[ShardJob], last: ProblemLog) -> ProblemLog:
    """Refused frames of the shards that are finished, and of the one that is not."""
    problems = ProblemLog()
    for job in jobs:
        if job.path.exists():
            problems.merge(Shard(job.path).census.problems)
    problems.merge(last)
    return problems


def _is_finished(job: ShardJob) -> bool:
    if not job.path.exists():
        return False
    shard = Shard(job.path)
    if shard.preparation != job.preparation:
        raise ValueError(
            f"{job.path.parent} holds shards of other data or settings (such as "
            f"{job.path.name}): choose another output folder, or delete that one"
        )
    return True


def _check_no_others(output: Path, jobs: Sequence[ShardJob]) -> None:
    others = sorted(
        {path.name for path in output.glob("*.h5")} - {job.path.name for job in jobs}
    )
    if others:
        raise ValueError(
            f"{output} holds other shards (such as {others[0]}): choose another output "
            "folder, or delete that one"
        )


def _remove_leftovers(output: Path) -> None:
    """Delete unfinished files of processes of this machine that are no more."""
    if sys.platform != "linux":  # elsewhere /proc does not tell which are alive
        return
    for path in output.glob(f".*.{socket.gethostname()}.*.tmp"):
        if not Path(f"/proc/{path.name.split('.')[-2]}").exists():
            path.unlink(missing_ok=True)


def _write_shard(job: ShardJob, tick: Callable[[int], None]) -> None:
    """Read the pieces of a shard and write it (in a worker process)."""
    census = Census()
    writer = ShardWriter(len(job.settings.r_max))
    waiting = 0
    for piece in job.pieces:
        frames = read_frames(
            piece.source.file,
            keys=job.settings.keys,
            group_key=job.settings.group_key,
            max_force=job.settings.max_force,
            span=piece.span,
            census=census,
        )
        for frame in frames:
            edge_counts = [
                count_neighbors(frame.positions, frame.cell, frame.pbc, r_max=cutoff)
                for cutoff in job.settings.r_max
            ]
            writer.add(frame, source=piece.source.name, edge_counts=edge_counts)
            waiting += 1
            if waiting == _TICK:
                tick(waiting)
                waiting = 0
    tick(waiting)
    sources = {piece.source.name: piece.source for piece in job.pieces}
    header = ShardHeader(
        preparation=job.preparation,
        number=job.number,
        num_shards=job.num_shards,
        settings=job.settings.to_dict(),
        sources=[
            {"name": name, "sha256": source.sha256, "num_frames": source.num_frames}
            for name, source in sources.items()
        ],
        r_max=list(job.settings.r_max),
        census=census.to_dict(),
        software=__version__,
    )
    writer.write(job.path, header)
