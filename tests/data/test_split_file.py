"""Split files: others can read them, and what they name must exist."""

import gc
import json
from dataclasses import replace

import numpy as np
import pytest
from made_stores import made_frame, store_of

from mace_train.data.split_file import read_split, write_split
from mace_train.data.splits import make_split


@pytest.fixture
def frames():
    return [
        replace(made_frame(k), source=f"part-{k // 10}.extxyz", index=k % 10)
        for k in range(30)
    ]


@pytest.fixture
def written(tmp_path, frames):
    store = store_of(tmp_path / "a", frames)
    split = make_split(store, valid_fraction=0.2, test_fraction=0.1)
    write_split(tmp_path / "split.json", split, store)
    return split, tmp_path / "split.json"


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_any_program_can_read_which_frame_of_which_file_is_where(written, frames):
    split, path = written
    content = json.loads(path.read_text())
    assert content["num_frames"] == {"train": 21, "valid": 6, "test": 3}
    for name, places in split.subsets.items():
        assert content[name] == [[frames[p].source, frames[p].index] for p in places]


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_the_text_is_what_json_makes_of_it(tmp_path, monkeypatch, rows):
    monkeypatch.setattr("mace_train.data.split_file._ROWS", rows)
    sources = ['a "b".extxyz', "ä\\\n.extxyz", "c.extxyz"]
    frames = [replace(made_frame(k), source=sources[k % 3], index=k) for k in range(12)]
    store = store_of(tmp_path / "a", frames)
    split = make_split(store, valid_fraction=0.3)
    write_split(tmp_path / "split.json", split, store)
    text = (tmp_path / "split.json").read_text()
    assert text == json.dumps(json.loads(text), separators=(",", ":")) + "\n"
    again = read_split(tmp_path / "split.json", store)
    assert again.valid.tolist() == split.valid.tolist()
    assert json.loads(text)["test"] == []


def test_a_split_is_read_back(written, tmp_path, frames):
    split, path = written
    again = read_split(path, store_of(tmp_path / "a", frames))
    assert again.method == split.method
    for name, places in split.subsets.items():
        assert again.subsets[name].tolist() == places.tolist()


def test_the_order_of_frames_in_the_store_does_not_matter(written, tmp_path, frames):
    split, path = written
    store = store_of(tmp_path / "b", frames[::-1], per_shard=7)
    again = read_split(path, store)
    found = {(store.frame(p).source, store.frame(p).index) for p in again.valid.tolist()}
    assert found == {(frames[p].source, frames[p].index) for p in split.valid}


def test_frames_that_the_data_does_not_have_are_named(written, tmp_path, frames):
    _, path = written
    with pytest.raises(
        ValueError, match=r"split\.json names 10 frames that the data does not"
    ):
        read_split(path, store_of(tmp_path / "b", frames[:20]))
    change(path, valid=[["part-0.extxyz", 3], ["other.extxyz", 12]], train=[], test=[])
    with pytest.raises(ValueError, match=r"first: other\.extxyz frame 12\).*data\.train"):
        read_split(path, store_of(tmp_path / "b", frames))


def test_frames_outside_the_split_are_counted(written, tmp_path, frames):
    _, path = written
    change(path, test=[])
    split = read_split(path, store_of(tmp_path / "a", frames))
    assert split.warnings[0].startswith("3 of 30 frames are in no subset")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "other"}, "is no split that mace-train wrote"),
        ({"version": 2}, "has version 2, this mace-train reads version 1"),
        ({"test": None}, r"must list test as \[file name, frame\] pairs, but has None"),
        ({"train": [["part-0.extxyz", 1.5]]}, r"must list train as .* but has .*1\.5"),
        ({"train": [], "valid": [], "test": []}, "has no training frames"),
        (
            {"train": [["part-0.extxyz", 3]], "valid": [["part-0.extxyz", 3]], "test": []},
            r"names 1 frames twice \(first: part-0.extxyz, frame 3, Li2O\)",
        ),
    ],
)
def test_unfit_files_are_refused(written, tmp_path, frames, values, message):
    _, path = written
    change(path, **values)
    with pytest.raises(ValueError, match=message):
        read_split(path, store_of(tmp_path / "a", frames))


def test_the_garbage_collector_is_on_again_after_reading(written, tmp_path, frames):
    _, path = written
    read_split(path, store_of(tmp_path / "a", frames))
    assert gc.isenabled()
    change(path, version=2)
    with pytest.raises(ValueError, match="has version 2"):
        read_split(path, store_of(tmp_path / "a", frames))
    assert gc.isenabled()


def test_a_file_that_is_absent_or_no_json_is_refused(tmp_path, frames):
    store = store_of(tmp_path / "a", frames)
    with pytest.raises(ValueError, match="there is no file"):
        read_split(tmp_path / "none.json", store)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_split(tmp_path / "bad.json", store)


def test_two_files_of_one_name_cannot_be_told_apart(tmp_path, frames):
    twins = [replace(made_frame(0), index=0), replace(made_frame(1), index=0)]
    store = store_of(tmp_path / "b", twins)
    split = make_split(store, valid_fraction=0.0)
    write_split(tmp_path / "twins.json", split, store)
    with pytest.raises(ValueError, match="several files of that name"):
        read_split(tmp_path / "twins.json", store)


def test_frames_that_are_trained_on_anyway_need_not_be_named(written, tmp_path, frames):
    split, path = written
    more = [replace(made_frame(k), source="more.extxyz", index=k) for k in range(5)]
    store = store_of(tmp_path / "b", [*frames, *more])
    again = read_split(path, store, trained=np.arange(30, 35))
    assert again.train.tolist() == [*split.train.tolist(), *range(30, 35)]
    assert again.valid.tolist() == split.valid.tolist()
    assert again.warnings == ()
    assert "5 of 35 frames are in no subset" in read_split(path, store).warnings[0]


def test_frames_that_are_trained_on_anyway_do_not_validate(written, tmp_path, frames):
    split, path = written
    store = store_of(tmp_path / "a", frames)
    trained = np.array([split.valid[0], split.test[0], split.train[0]])
    again = read_split(path, store, trained=trained)
    assert again.valid.tolist() == split.valid[1:].tolist()
    assert again.test.tolist() == split.test[1:].tolist()
    assert len(again.train) == len(split.train) + 2
    assert set(trained.tolist()) <= set(again.train.tolist())
    (warning,) = again.warnings
    assert warning.startswith("2 frames that")
    assert "hold_out=false" in warning
