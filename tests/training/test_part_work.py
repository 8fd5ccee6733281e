import os
import time
from itertools import chain

import numpy as np
import pytest

from mace_train.training.part_work import PartWork
from mace_train.training.prediction_parts import PartFolder
from mace_train.training.predictions import FrameFailure, FramePrediction

PARTS = [range(30), range(30, 75), range(75, 80)]


class Told:
    """Predicts the place of each frame; notes which process was asked for what."""

    def __init__(self, tmp_path, *, failing=(), pause=0.0):
        self.log = tmp_path / "asked"
        self.failing = failing
        self.pause = pause

    def __call__(self, *groups):
        for place in chain(*groups):
            with self.log.open("a") as file:
                file.write(f"{os.getpid()} {place}\n")
            time.sleep(self.pause)
            if place in self.failing:
                yield FrameFailure(f"frame {place} failed")
            else:
                yield FramePrediction(float(place), np.full((1, 3), float(place)), None)

    @property
    def asked(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [tuple(map(int, line.split())) for line in lines]


@pytest.fixture
def folder(tmp_path):
    folder = PartFolder(tmp_path / "parts")
    folder.begin({}, resume=True)
    return folder


def energies(folder):
    return [o.energy for number in range(3) for o in folder.read(number)]


@pytest.mark.parametrize("workers", [1, 2])
def test_all_parts_are_made_by_one_process_or_several(folder, tmp_path, workers):
    potential = Told(tmp_path)
    told = []
    work = PartWork(potential, PARTS, folder)
    work.finish(workers=workers, progress=lambda *counts: told.append(counts))
    assert energies(folder) == list(map(float, range(80)))
    assert work.missing == []
    assert told[0] == (0, 80)
    assert told[-1] == (80, 80)
    own = os.getpid()
    assert {process == own for process, _ in potential.asked} == {workers == 1}


def test_only_missing_parts_are_made(folder, tmp_path):
    PartWork(Told(tmp_path), PARTS, folder).finish()
    (folder.path / "part-000001.npz").unlink()
    again = Told(tmp_path / "parts")
    told = []
    PartWork(again, PARTS, folder).finish(progress=lambda *counts: told.append(counts))
    assert [place for _, place in again.asked] == list(range(30, 75))
    assert told[0] == (35, 80)
    assert energies(folder) == list(map(float, range(80)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_frame_that_fails_ends_all_and_finished_parts_stay(folder, tmp_path, workers):
    potential = Told(tmp_path, failing=(78,))
    with pytest.raises(ValueError, match="frame 78 failed"):
        PartWork(potential, PARTS, folder).finish(workers=workers)
    assert not folder.is_finished(2)
    PartWork(Told(tmp_path), PARTS, folder).finish()
    assert energies(folder) == list(map(float, range(80)))


def test_a_frame_that_fails_is_noted_if_it_may_be_left_out(folder, tmp_path):
    work = PartWork(Told(tmp_path, failing=(2, 78)), PARTS, folder, bad_frames="leave_out")
    work.finish()
    assert folder.read(0)[2] == FrameFailure("frame 2 failed")
    assert folder.read(2)[3] == FrameFailure("frame 78 failed")
    assert folder.read(2)[4].energy == 79.0


def test_what_was_left_out_is_refused_once_that_is_asked_for(folder, tmp_path):
    potential = Told(tmp_path, failing=(2, 78))
    PartWork(potential, PARTS, folder, bad_frames="leave_out").finish()
    with pytest.raises(ValueError, match="frame 2 failed"):
        PartWork(potential, PARTS, folder, bad_frames="refuse").finish()
    assert folder.num_finished == len(PARTS)


def test_workers_end_soon_after_their_parent_is_interrupted(folder, tmp_path):
    parts = [range(400), range(400, 800)]

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        PartWork(Told(tmp_path, pause=0.02), parts, folder).finish(
            workers=2, progress=interrupt
        )
    assert time.monotonic() - began < 6, "parts take 8 s"
    assert folder.num_finished == 0
