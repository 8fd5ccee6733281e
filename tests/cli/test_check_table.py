from typing import get_args

from mace_train.cli.check_table import ADVICE, checks_table, failure_message, notes_of
from mace_train.physics.outcome import Findings, Measurement, Outcome
from mace_train.physics.suite import CheckName

GOOD = Outcome(
    "rotation", "ok", Findings((Measurement("forces", 2e-12, "eV/Å", 1e-8, "Si2"),))
)
HOLES = Outcome(
    "dimers",
    "FAILED",
    Findings(
        (
            Measurement("tortuosity", 1.0, "", 1.5),
            Measurement("holes", 2.0, "pairs", 0.0, "of 3 pairs; the lowest wall: Si-O"),
        ),
        notes=("Si-O: the energy falls by 5 eV below 0.81 Å",),
    ),
)
CRASHED = Outcome("nve", "FAILED", reason="RuntimeError: out of memory")
LEFT_OUT = Outcome("stress", "left out", reason="the calculator has no stress")
ALL = [GOOD, HOLES, CRASHED, LEFT_OUT]


def test_a_row_has_the_worst_number_its_limit_and_where():
    lines = checks_table(ALL).splitlines()
    row = {line.split()[0]: " ".join(line.split()) for line in lines[2:]}
    assert row["rotation"] == "rotation 2e-12 eV/Å 1e-08 ok forces, Si2"
    assert row["dimers"].startswith("dimers 2 pairs 0 FAILED holes, of 3 pairs")
    assert row["nve"] == "nve FAILED RuntimeError: out of memory"
    assert row["stress"] == "stress left out the calculator has no stress"
    assert max(map(len, lines)) <= 110


def test_the_message_says_which_failed_by_how_much_and_what_to_do():
    message = failure_message(ALL)
    assert message.startswith("2 of 3 checks failed")
    assert (
        "dimers: holes 2 pairs (of 3 pairs; the lowest wall: Si-O), the limit is 0"
        in message
    )
    assert "model.pair_repulsion=true" in message
    assert "nve: the calculator failed: RuntimeError: out of memory" in message
    assert "is not enough here" in failure_message(ALL, has_repulsion=True)


def test_every_check_has_advice_and_notes_bear_its_name():
    assert set(ADVICE) == set(get_args(CheckName))
    assert notes_of(ALL) == ["dimers: Si-O: the energy falls by 5 eV below 0.81 Å"]
