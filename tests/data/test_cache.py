"""The cache: files are prepared once, and never again unless something changed."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from made_stores import spread_frame, write_extxyz

from mace_train.data import cache
from mace_train.data import fingerprint as module
from mace_train.data.cache import open_store
from mace_train.data.fingerprint import fingerprint
from mace_train.data.frame_reader import LabelKeys
from mace_train.data.prepare import prepare_shards

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    groups = [{"mp_id": f"mp-{k}"} for k in range(6)]
    return write_extxyz(
        tmp_path / "my.extxyz", [spread_frame(k, groups=groups[k]) for k in range(6)]
    )


@pytest.fixture
def preparations(monkeypatch):
    """Counts how often files are prepared."""
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return prepare_shards(*args, **kwargs)

    monkeypatch.setattr(cache, "prepare_shards", counting)
    return calls


def opened(spec, tmp_path, **options):
    defaults = {"keys": LabelKeys(), "r_max": 3.0, "cache_dir": tmp_path / "cache"}
    return open_store(spec, **(defaults | options))


def test_a_file_is_prepared_once(path, tmp_path, preparations):
    first = opened(path, tmp_path)
    again = opened(str(path), tmp_path)
    assert len(preparations) == 1
    assert len(first) == len(again) == 6
    assert again.frame(3).energy == spread_frame(3).energy


@pytest.mark.parametrize(
    "changed",
    [
        {"keys": LabelKeys(energy_unit="meV")},
        {"r_max": [3.0, 4.0]},
        {"max_force": 100.0},
        {"group_key": "run"},
    ],
)
def test_other_settings_prepare_anew(path, tmp_path, preparations, changed):
    opened(path, tmp_path)
    opened(path, tmp_path, **changed)
    assert len(preparations) == 2


def test_a_changed_file_is_prepared_anew(path, tmp_path, preparations):
    opened(path, tmp_path)
    write_extxyz(path, [spread_frame(9)])
    assert len(opened(path, tmp_path)) == 1
    assert len(preparations) == 2


def test_other_reading_code_prepares_anew(path, monkeypatch):
    before = fingerprint([path], {})
    monkeypatch.setattr(module, "__version__", "99")
    assert fingerprint([path], {}) != before


def test_an_interrupted_preparation_is_finished(path, tmp_path, preparations):
    store = opened(path, tmp_path)
    (store.shards[0].path.parent / "complete.json").unlink()
    times = store.shards[0].path.stat().st_mtime_ns
    again = opened(path, tmp_path)
    assert len(preparations) == 2
    assert again.shards[0].path.stat().st_mtime_ns == times


def test_a_deleted_shard_is_prepared_again(path, tmp_path):
    opened(path, tmp_path).shards[0].path.unlink()
    assert len(opened(path, tmp_path)) == 6


def test_a_cache_that_cannot_be_written_is_explained(path, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(ValueError, match=r"cannot write .* set data\.cache_dir"):
        opened(path, tmp_path)


def test_the_default_cache_lies_in_the_users_cache_folder(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    store = opened(path, tmp_path, cache_dir=None)
    assert (tmp_path / "xdg" / "mace-train") in store.shards[0].path.parents


def test_a_bad_file_leaves_nothing_that_counts_as_prepared(path, tmp_path):
    path.write_text(path.read_text().replace("energy=", "energy=nan other=", 1))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"my\.extxyz, frame 0"):
            opened(path, tmp_path)


def test_refused_frames_are_told_with_the_way_to_go_on_without_them(path, tmp_path):
    path.write_text(path.read_text().replace("energy=", "energy=nan other=", 1))
    with pytest.raises(ValueError, match=r"refused\.txt.*bad_frames=leave_out") as caught:
        opened(path, tmp_path)
    assert "1 of 6 frames have an energy that is NaN" in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.h5"))


def test_shards_with_refused_frames_are_opened_only_if_accepted(path, tmp_path):
    path.write_text(path.read_text().replace("energy=", "energy=nan other=", 1))
    prepare = partial(
        prepare_shards, [path], tmp_path / "out", keys=LabelKeys(), r_max=[3.0]
    )
    with pytest.raises(ValueError, match="NaN"):
        prepare()
    with pytest.raises(ValueError, match=r"1 refused frames .*bad_frames=leave_out"):
        opened(tmp_path / "out", tmp_path)

    prepare(bad_frames="leave_out")
    assert len(opened(tmp_path / "out", tmp_path)) == 5

    with pytest.raises(ValueError, match="NaN"):
        prepare(bad_frames="refuse")
    with pytest.raises(ValueError, match="which nobody has looked at yet"):
        opened(tmp_path / "out", tmp_path)


def test_shards_are_used_as_they_are(path, tmp_path, preparations):
    report = prepare_shards([path], tmp_path / "out", keys=LabelKeys(), r_max=[3.0])
    store = opened(tmp_path / "out", tmp_path)
    assert [shard.path for shard in store.shards] == report.shards
    assert not preparations
    # Keys that say what was found anyway are no contradiction.
    opened(tmp_path / "out", tmp_path, keys=LabelKeys(energy="energy"), group_key="mp_id")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": LabelKeys(energy="REF_energy")}, "data.energy_key=REF_energy, but shard"),
        ({"keys": LabelKeys(virials="virial")}, "data.virials_key=virial, but shard"),
        ({"keys": LabelKeys(energy_unit="meV")}, "data.units.energy=meV, but shard"),
        ({"keys": LabelKeys(stress="none")}, "data.stress_key=none, but shard .* stress"),
        ({"max_force": 20.0}, "data.max_force=20.0, but shard .* prepared with None"),
        ({"group_key": "run"}, "data.group_key=run, but shard"),
    ],
)
def test_settings_that_shards_do_not_follow_are_refused(path, tmp_path, options, message):
    prepare_shards([path], tmp_path / "out", keys=LabelKeys(), r_max=[3.0])
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "out", tmp_path, **options)


_OPEN = """
import sys
from pathlib import Path
from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
import mace_train.data.cache as cache
prepare = cache.prepare_shards
def told(*args, **kwargs):
    print("prepared")
    return prepare(*args, **kwargs)
cache.prepare_shards = told
store = open_store(sys.argv[1], keys=LabelKeys(), r_max=3.0, cache_dir=Path(sys.argv[2]))
print(len(store), store.frame(5).index)
"""


@pytest.mark.slow
def test_processes_that_ask_at_once_share_one_preparation(path, tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN, str(path), str(tmp_path / "cache")],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert all(output.endswith("6 5\n") for output in outputs)
    assert sum(output.count("prepared") for output in outputs) == 1


def test_the_cache_folder_says_which_shards_are_complete(path, tmp_path):
    store = opened(path, tmp_path)
    folder = store.shards[0].path.parent
    assert folder.name.startswith("my-")
    assert json.loads((folder / "complete.json").read_text()) == ["shard-00000.h5"]
