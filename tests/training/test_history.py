"""`metrics.csv`: rows, cuts, and files that a crash left unfinished."""

import math

from mace_train.training.history import COLUMNS, History


def _row(epoch, **values):
    numbers = dict.fromkeys(COLUMNS, 0.1 * epoch)
    return numbers | {"epoch": epoch, "step": 10 * epoch, "stage": 1} | values


def test_rows_come_back_exactly_with_none_for_missing_values(tmp_path):
    history = History(tmp_path / "runs/new/metrics.csv")
    history.begin(0)
    rows = [_row(0, **{"valid/stress_mae": None}), _row(1, **{"train/loss": 1 / 3})]
    for row in rows:
        history.append(row)
    assert history.rows() == rows
    assert history.path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_nan_stays_a_nan(tmp_path):
    history = History(tmp_path / "metrics.csv")
    history.begin(0)
    history.append(_row(0, **{"valid/loss": math.nan}))
    assert math.isnan(history.rows()[0]["valid/loss"])


def test_rows_beyond_the_checkpoint_are_cut(tmp_path):
    history = History(tmp_path / "metrics.csv")
    history.begin(0)
    for epoch in range(5):
        history.append(_row(epoch))
    kept = history.path.read_text().splitlines()[:4]
    history.begin(3)
    assert history.path.read_text().splitlines() == kept
    history.begin(0)
    assert history.rows() == []


def test_a_row_that_was_cut_short_is_dropped(tmp_path):
    history = History(tmp_path / "metrics.csv")
    history.begin(0)
    for epoch in range(2):
        history.append(_row(epoch))
    text = history.path.read_text()
    history.path.write_text(text[: text.rindex(",")])
    assert [row["epoch"] for row in history.rows()] == [0]


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert History(tmp_path / "metrics.csv").rows() == []


def test_a_file_of_an_older_version_is_read_and_gets_the_new_columns(tmp_path):
    history = History(tmp_path / "metrics.csv")
    older = [name for name in COLUMNS if not name.startswith("timing/")]
    rows = [_row(0), _row(1), _row(2)]
    lines = [older, *([row[name] for name in older] for row in rows)]
    history.path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    missing = dict.fromkeys(name for name in COLUMNS if name.startswith("timing/"))
    assert history.rows() == [row | missing for row in rows]
    history.begin(2)
    history.append(rows[2])
    assert history.rows() == [rows[0] | missing, rows[1] | missing, rows[2]]


def test_in_the_middle_of_an_epoch_the_rows_of_whole_ones_stay(tmp_path):
    history = History(tmp_path / "metrics.csv")
    history.begin(0)
    for epoch in range(3):
        history.append(_row(epoch))
    history.begin(2)  # a run that goes on in epoch 2, whose row was there already
    assert [row["epoch"] for row in history.rows()] == [0, 1]


def test_columns_of_callbacks_stay_when_a_run_goes_on_without_them(tmp_path):
    path = tmp_path / "metrics.csv"
    first = History(path, more_columns=["physics/holes"])
    first.begin(0)
    rows = [_row(0, **{"physics/holes": 3.0}), _row(1, **{"physics/holes": None})]
    for row in rows:
        first.append(row)
    later = History(path)
    later.begin(2)
    later.append(_row(2))
    assert later.rows() == [*rows, _row(2, **{"physics/holes": None})]


def test_columns_of_callbacks_are_added_when_a_run_goes_on_with_them(tmp_path):
    before = History(tmp_path / "metrics.csv")
    before.begin(0)
    before.append(_row(0))
    later = History(tmp_path / "metrics.csv", more_columns=["physics/holes"])
    later.begin(1)
    later.append(_row(1, **{"physics/holes": 2.0}))
    assert [row["physics/holes"] for row in later.rows()] == [None, 2.0]
