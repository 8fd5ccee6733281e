"""Plans: every frame in one shard, and another plan for anything that differs."""

from dataclasses import replace
from pathlib import Path

import pytest

from mace_train.data.frame_source import FrameFile, Mark, Span
from mace_train.data.labels import LabelKeys
from mace_train.data.plan import ReadSettings, plan_shards
from mace_train.data.scan import Source

SETTINGS = ReadSettings(LabelKeys(), "auto", None, (5.0, 6.0))
STRIDE = 10


def source(name, num_frames):
    marks = tuple(Mark(k, 100 * k, 5 * k + 1) for k in range(0, num_frames, STRIDE))
    return Source(FrameFile(Path(name)), name, f"sum of {name}", num_frames, marks)


def planned(sources, settings=SETTINGS, frames_per_shard=STRIDE):
    return plan_shards(
        sources, Path("out"), settings=settings, frames_per_shard=frames_per_shard
    )


def test_every_frame_is_in_exactly_one_shard():
    sources = [source("a", 25), source("b", 3), source("c", 2), source("d", 10)]
    jobs = planned(sources)
    frames = [
        (piece.source.name, place)
        for job in jobs
        for piece in job.pieces
        for place in range(
            piece.span.start.frame, piece.span.start.frame + piece.num_frames
        )
    ]
    assert frames == [(s.name, place) for s in sources for place in range(s.num_frames)]
    assert all(0 < job.num_frames <= STRIDE for job in jobs)


def test_small_files_share_a_shard():
    jobs = planned([source(str(k), 4) for k in range(5)])
    assert [len(job.pieces) for job in jobs] == [2, 2, 1]
    assert [job.path.name for job in jobs] == [f"shard-0000{k}.h5" for k in range(3)]
    assert {(job.num_shards, job.preparation) for job in jobs} == {(3, jobs[0].preparation)}


def test_the_last_piece_of_a_file_goes_to_its_end():
    (first, last) = planned([source("a", 15)])
    assert first.pieces[0].span.stop == Mark(10, 1000, 51)
    # The reader says what is wrong with the rest, if anything is.
    assert last.pieces[0].span.stop is None


def test_a_job_holds_only_what_it_needs():
    jobs = planned([source("a", 1000)])
    assert all(piece.source.marks == () for job in jobs for piece in job.pieces)


def test_the_identity_of_a_plan_is_that_of_earlier_versions():
    assert planned([source("a", 25)])[0].preparation == "c4bc0c65f5b736e7"


def test_a_file_without_countable_frames_is_still_read():
    (job,) = planned([source("broken", 0)])
    assert job.pieces[0].span == Span(Mark(0, 0, 1), None)
    assert job.num_frames == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": replace(SETTINGS, max_force=10.0)},
        {"settings": replace(SETTINGS, r_max=(5.0,))},
        {"settings": replace(SETTINGS, keys=LabelKeys(energy="REF_energy"))},
        {"frames_per_shard": 20},
        {"sources": [source("b", 25)]},
    ],
)
def test_another_plan_has_another_identity(changed):
    options = {"sources": [source("a", 25)]}
    assert planned(**options)[0].preparation == planned(**options)[0].preparation
    assert (
        planned(**(options | changed))[0].preparation != planned(**options)[0].preparation
    )
