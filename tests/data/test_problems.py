"""Faults are told once, with their number, the first place and the cure."""

import json
import pickle

from mace_train.data.problems import FrameError, Place, ProblemLog, TooManyRefusedError

NAN = FrameError("have a NaN", cure="Remove them.", detail="energy is nan")
CLOSE = FrameError("have close atoms", cure="Check units.")


def test_a_line_tells_count_place_and_cure():
    log = ProblemLog()
    log.add(NAN, place=Place("a.xyz", 3, "H2"))
    log.add(NAN, place=Place("a.xyz", 7, "H2"))

    assert log.lines(100) == [
        "2 of 100 frames have a NaN (first: a.xyz, frame 3, H2: energy is nan). "
        "Remove them."
    ]


def test_the_most_frequent_fault_comes_first():
    log = ProblemLog()
    for place, error in enumerate([NAN, CLOSE, CLOSE]):
        log.add(error, place=Place("a.xyz", place))

    assert [line.split(" of ")[0] for line in log.lines(9)] == ["2", "1"]


def test_merging_keeps_the_first_place_and_adds_counts():
    first, second = ProblemLog(), ProblemLog()
    first.add(NAN, place=Place("a.xyz", 1))
    second.add(NAN, place=Place("a.xyz", 2))
    second.add(CLOSE, place=Place("a.xyz", 3))

    first.merge(second)

    assert first.count == 3
    assert first.findings["have a NaN"].count == 2
    assert first.findings["have a NaN"].first.startswith("a.xyz, frame 1: energy")


def test_a_log_survives_writing_and_reading():
    log = ProblemLog()
    log.add(NAN, place=Place("a.xyz", 1))

    assert ProblemLog.from_dict(json.loads(json.dumps(log.to_dict()))) == log
    assert ProblemLog().to_dict() == {}  # as in shards that were written before


def test_every_refused_frame_is_kept_in_order():
    first, second = ProblemLog(), ProblemLog()
    for log, number in ((first, 1), (second, 5), (second, 6)):
        log.add(CLOSE if number == 5 else NAN, place=Place("a.xyz", number, "H2"))

    first.merge(second)

    assert [refused.place.number for refused in first.refused] == [1, 5, 6]
    assert [refused.detail for refused in first.refused] == [
        "energy is nan",
        "",
        "energy is nan",
    ]


def test_the_end_of_reading_comes_from_a_worker_with_all_that_was_refused():
    log = ProblemLog()
    log.add(NAN, place=Place("a.xyz", 1))

    error = pickle.loads(pickle.dumps(TooManyRefusedError("too many", log.to_dict())))

    assert str(error) == "too many"
    assert error.problems == log


def test_an_error_by_itself_says_all():
    assert str(NAN) == "have a NaN (energy is nan). Remove them."
