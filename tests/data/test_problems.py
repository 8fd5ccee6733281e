"""Faults are told once, with their number, the first place and the cure."""

from mace_train.data.problems import FrameError, ProblemLog

NAN = FrameError("have a NaN", cure="Remove them.", detail="energy is nan")
CLOSE = FrameError("have close atoms", cure="Check units.")


def test_a_line_tells_count_place_and_cure():
    log = ProblemLog()
    log.add(NAN, place="a.xyz, frame 3, H2")
    log.add(NAN, place="a.xyz, frame 7, H2")

    assert log.lines(100) == [
        "2 of 100 frames have a NaN (first: a.xyz, frame 3, H2: energy is nan). "
        "Remove them."
    ]


def test_the_most_frequent_fault_comes_first():
    log = ProblemLog()
    for place, error in enumerate([NAN, CLOSE, CLOSE]):
        log.add(error, place=f"frame {place}")

    assert [line.split(" of ")[0] for line in log.lines(9)] == ["2", "1"]


def test_merging_keeps_the_first_place_and_adds_counts():
    first, second = ProblemLog(), ProblemLog()
    first.add(NAN, place="frame 1")
    second.add(NAN, place="frame 2")
    second.add(CLOSE, place="frame 3")

    first.merge(second)

    assert first.count == 3
    assert first.findings["have a NaN"].count == 2
    assert first.findings["have a NaN"].first.startswith("frame 1")


def test_a_log_survives_writing_and_reading():
    log = ProblemLog()
    log.add(NAN, place="frame 1")

    assert ProblemLog.from_dict(log.to_dict()) == log


def test_an_error_by_itself_says_all():
    assert str(NAN) == "have a NaN (energy is nan). Remove them."
