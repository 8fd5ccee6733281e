"""Preparing shards: the same with any number of workers, and a kill costs one shard."""

import gzip
import lzma
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from made_files import write_zip
from made_stores import SHARED_DATA, made_frame, spread_frame, write_extxyz

from mace_train.data.frame_reader import LabelKeys, read_frames
from mace_train.data.prepare import prepare_shards
from mace_train.data.shards import Shard
from mace_train.data.statistics import compute_statistics
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable
from mace_train.neighbors import neighbor_list

REPOSITORY = Path(__file__).resolve().parents[2]


def prepare(sources, output, **options):
    defaults = {"keys": LabelKeys(), "r_max": [2.5, 3.0], "frames_per_shard": 8}
    return prepare_shards(sources, output, **(defaults | options))


@pytest.fixture
def files(tmp_path):
    groups = [{"mp_id": f"mp-{k // 5}"} for k in range(40)]
    frames = [spread_frame(k, groups=groups[k]) for k in range(40)]
    return [
        write_extxyz(tmp_path / "in" / "a.extxyz", frames[:21]),
        write_extxyz(tmp_path / "in" / "b.extxyz", frames[21:24]),
        write_extxyz(tmp_path / "in" / "c.extxyz", frames[24:]),
    ]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("frames_per_shard", [1, 7, 8, 1000])
def test_all_frames_arrive_in_order(files, tmp_path, workers, frames_per_shard):
    report = prepare(
        files, tmp_path / "out", workers=workers, frames_per_shard=frames_per_shard
    )
    store = FrameStore(report.shards)
    assert all(len(shard) <= frames_per_shard for shard in store.shards)
    expected = [frame for path in files for frame in read_frames(path, keys=LabelKeys())]
    assert len(store) == len(expected) == report.census.num_frames == 40
    for place, frame in enumerate(expected):
        found = store.frame(place)
        np.testing.assert_array_equal(found.positions, frame.positions)
        np.testing.assert_array_equal(found.forces, frame.forces)
        assert (found.source, found.index) == (Path(frame.source).name, frame.index)
        assert (found.energy, found.groups) == (frame.energy, frame.groups)
    assert report.census.summary().startswith("energy 40/40, forces 40/40, stress 40/40")


def test_shards_do_not_depend_on_the_number_of_workers(files, tmp_path):
    one = prepare(files, tmp_path / "one", workers=1)
    two = prepare(files, tmp_path / "two", workers=2)
    assert [p.read_bytes() for p in one.shards] == [p.read_bytes() for p in two.shards]


def test_edges_are_counted_for_each_cutoff(files, tmp_path):
    store = FrameStore(prepare(files, tmp_path / "out").shards)
    for cutoff in (2.5, 3.0):
        frame = store.frame(17)
        edges = neighbor_list(frame.positions, frame.cell, frame.pbc, r_max=cutoff)
        assert store.edge_counts(cutoff)[17] == edges.edge_index.shape[1]


def test_finished_shards_are_not_written_again(files, tmp_path):
    first = prepare(files, tmp_path / "out")
    lost = first.shards.pop(2)
    lost.unlink()
    times = [path.stat().st_mtime_ns for path in first.shards]
    again = prepare(files, tmp_path / "out")
    assert again.num_written == 1
    assert lost.exists()
    assert [path.stat().st_mtime_ns for path in first.shards] == times
    assert again.census == first.census


def test_progress_reaches_the_number_of_frames(files, tmp_path):
    for workers in (1, 2):
        reports = []
        prepare(
            files,
            tmp_path / str(workers),
            workers=workers,
            progress=lambda done, total, reports=reports: reports.append((done, total)),
        )
        assert reports[-1] == (40, 40)


@pytest.mark.parametrize(
    "changed", [{"r_max": [2.0]}, {"max_force": 50.0}, {"frames_per_shard": 9}]
)
def test_shards_of_other_settings_are_not_mixed(files, tmp_path, changed):
    prepare(files, tmp_path / "out")
    with pytest.raises(ValueError, match="holds shards of other data or settings"):
        prepare(files, tmp_path / "out", **changed)


def test_shards_of_other_data_are_not_mixed(files, tmp_path):
    prepare(files, tmp_path / "out")
    write_extxyz(files[0], [spread_frame(99)])
    with pytest.raises(ValueError, match="choose another output folder"):
        prepare(files, tmp_path / "out")


def test_foreign_shards_in_the_folder_are_not_mixed(files, tmp_path):
    report = prepare(files, tmp_path / "out")
    report.shards[0].rename(report.shards[0].with_name("shard-00099.h5"))
    with pytest.raises(ValueError, match=r"holds other shards \(such as shard-00099\.h5\)"):
        prepare(files, tmp_path / "out")


def test_frames_beyond_max_force_are_left_out_and_counted(files, tmp_path):
    strong = made_frame(0)
    strong.forces[0, 0] = 60.0
    path = write_extxyz(tmp_path / "s.extxyz", [spread_frame(1), strong, spread_frame(2)])
    report = prepare([path], tmp_path / "out", max_force=50.0)
    store = FrameStore(report.shards)
    assert [store.frame(place).index for place in range(len(store))] == [0, 2]
    assert report.census.left_out == {"max_force": 1}


def test_a_finished_preparation_leaves_only_shards(files, tmp_path):
    (tmp_path / "out").mkdir()
    if sys.platform == "linux":  # of a process that is no more
        (tmp_path / "out" / f".refused.txt.{socket.gethostname()}.99999999.tmp").touch()
    report = prepare(files, tmp_path / "out")
    assert sorted((tmp_path / "out").iterdir()) == report.shards


@pytest.mark.parametrize("options", [{"frames_per_shard": 3}, {"workers": 2}])
def test_statistics_do_not_depend_on_the_sharding(files, tmp_path, options):
    whole = FrameStore(prepare(files, tmp_path / "whole", frames_per_shard=1000).shards)
    cut = FrameStore(prepare(files, tmp_path / "cut", **options).shards)
    expected, found = (
        compute_statistics(store, np.arange(40), elements=ElementTable((3, 8)), r_max=3.0)
        for store in (whole, cut)
    )
    for one, other in zip(astuple(expected), astuple(found)):
        np.testing.assert_array_equal(one, other)  # to the last bit
    assert cut.census.num_atoms == whole.census.num_atoms
    assert cut.census.labels == whole.census.labels
    assert cut.census.names == whole.census.names


def test_shards_are_not_prepared_again(files, tmp_path):
    report = prepare(files, tmp_path / "out")
    with pytest.raises(ValueError, match=r"shard-00000\.h5 is a shard already"):
        prepare(report.shards, tmp_path / "again")


def test_no_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no files to prepare"):
        prepare([], tmp_path / "out")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.xyz").touch()
    with pytest.raises(ValueError, match=r"no frames in .*empty\.xyz"):
        prepare([tmp_path / "empty.xyz"], tmp_path / "out")


@pytest.mark.parametrize("setting", ["workers", "frames_per_shard"])
def test_numbers_below_one_are_refused(files, tmp_path, setting):
    with pytest.raises(ValueError, match=f"{setting}=0"):
        prepare(files, tmp_path / "out", **{setting: 0})


_PREPARE_SLOWLY = """
import sys, time
from pathlib import Path
import mace_train.data.prepare as prepare
from mace_train.data.labels import LabelKeys
count_neighbors = prepare.count_neighbors
def slow(*arguments, r_max):
    time.sleep(0.01)
    return count_neighbors(*arguments, r_max=r_max)
prepare.count_neighbors = slow
prepare.prepare_shards(
    [Path(name) for name in sys.argv[3:]], Path(sys.argv[1]), keys=LabelKeys(),
    r_max=[2.5, 3.0], frames_per_shard=8, workers=int(sys.argv[2]),
)
"""


@pytest.mark.parametrize(
    ("workers", "is_packed"),
    [
        (1, False),
        pytest.param(2, False, marks=pytest.mark.slow),
        pytest.param(2, True, marks=pytest.mark.slow),
    ],
)
def test_a_killed_preparation_is_gone_on_with(files, tmp_path, workers, is_packed):
    if is_packed:
        texts = {path.name: path.read_text() for path in files}
        files = [write_zip(tmp_path / "a.zip", texts)]
    output = tmp_path / "out"
    words = [str(output), str(workers), *map(str, files)]
    process = subprocess.Popen(
        [sys.executable, "-c", _PREPARE_SLOWLY, *words],
        cwd=REPOSITORY,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while len(list(output.glob("*.h5"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while _is_alive(process.pid):  # until its workers notice that they are orphans
        assert time.monotonic() < deadline
        time.sleep(0.05)
    finished = {path: _identity(path) for path in output.glob("*.h5")}
    assert 2 <= len(finished) < 6
    report = prepare(files, output)
    assert report.num_written == len(report.shards) - len(finished)
    assert {path: _identity(path) for path in finished} == finished
    assert sorted(output.iterdir()) == report.shards
    untouched = prepare(files, tmp_path / "whole")
    assert [p.read_bytes() for p in report.shards] == [
        p.read_bytes() for p in untouched.shards
    ]


def _is_alive(group):
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _identity(path):
    """What a file that is written again does not keep."""
    state = path.stat()
    return state.st_ino, state.st_mtime_ns, state.st_ctime_ns


def test_a_shard_damaged_meanwhile_is_named(files, tmp_path):
    report = prepare(files, tmp_path / "out")
    report.shards[1].write_bytes(report.shards[1].read_bytes()[:500])
    with pytest.raises(ValueError, match=r"shard-00001\.h5 is damaged"):
        prepare(files, tmp_path / "out")


def test_real_mptrj_has_62_neighbors_an_atom(tmp_path):
    path = SHARED_DATA / "mptrj_random_dev.extxyz"
    if not path.exists():
        pytest.skip("needs the real MPtrj frames of ../shared/data")
    begin = time.process_time()
    report = prepare([path], tmp_path, r_max=[6.0], frames_per_shard=10_000)
    assert 616 / (time.process_time() - begin) > 200  # 400 without the tests' type checks
    store = FrameStore(report.shards)
    assert report.census.summary().startswith(
        "energy 616/616, forces 616/616, stress 616/616"
    )
    assert store.edge_counts(6.0).sum() / store.num_atoms.sum() == pytest.approx(
        62.3, abs=0.1
    )
    assert Shard(report.shards[0]).header.r_max == [6.0]


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".xz", lzma)])
def test_a_packed_file_that_is_cut_off_is_named(files, tmp_path, suffix, module):
    packed = tmp_path / f"cut.extxyz{suffix}"
    packed.write_bytes(module.compress(files[0].read_bytes())[:-100])
    with pytest.raises(ValueError, match=r"cut\.extxyz.*The file is damaged"):
        prepare([packed], tmp_path / "out")


@pytest.mark.parametrize("header", ["-5", str(10**30)])
def test_a_number_of_atoms_that_is_none_is_named_with_its_line(files, tmp_path, header):
    wrong = tmp_path / "wrong.extxyz"
    wrong.write_text(f"1\nenergy=0.0\nH 0 0 0\n{header}\n\n")
    with pytest.raises(ValueError, match=f"number of atoms.*line 4 is '{header}'"):
        prepare([wrong], tmp_path / "out")


@pytest.mark.parametrize("number", [119, 300])
def test_an_atomic_number_of_no_element_is_refused(tmp_path, number):
    wrong = tmp_path / "wrong.extxyz"
    wrong.write_text(f"1\nProperties=Z:I:1:pos:R:3 energy=-1.0\n{number} 0 0 0\n")
    with pytest.raises(ValueError, match=rf"of no element .*frame 0, \({number}\)"):
        prepare([wrong], tmp_path / "out")
