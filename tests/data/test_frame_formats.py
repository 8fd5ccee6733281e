"""The same real frames come out of every form, one worker or several."""

import gzip
from typing import get_args

import ase.io
import numpy as np
import pytest
from made_files import (
    by_material,
    member_texts,
    mptrj_json,
    write_database,
    write_json,
    write_tar,
    write_zip,
)
from made_stores import SHARED_DATA

from mace_train.data import ase_database
from mace_train.data.frame_formats import FRAME_FORMATS
from mace_train.data.frame_source import Form
from mace_train.data.labels import LabelKeys
from mace_train.data.prepare import prepare_shards
from mace_train.data.store import FrameStore

REAL = SHARED_DATA / "mptrj_random_dev.extxyz"
GENUINE = SHARED_DATA / "mptrj_genuine_mp-1028232.extxyz"


@pytest.fixture(scope="module")
def structures():
    if not REAL.exists():
        pytest.skip("needs ../shared/data")
    return by_material([*ase.io.read(GENUINE, ":"), *ase.io.read(REAL, ":30")])


def made(folder, name, structures):
    """A file of the frames, in the form that its name says."""
    path = folder / name
    if name.startswith("archive"):
        write = write_zip if name.endswith("zip") else write_tar
        return write(path, member_texts(structures))
    if ".json" in name:
        return write_json(path, mptrj_json(structures))
    if path.suffix in (".db", ".aselmdb"):
        return write_database(path, structures)
    if path.suffix == ".gz":
        ase.io.write(folder / path.stem, structures)
        path.write_bytes(gzip.compress((folder / path.stem).read_bytes()))
        return path
    ase.io.write(path, structures)
    return path


def frames_of(path, output, **options):
    """Frames by material and place, since archives are sorted by name."""
    report = prepare_shards([path], output, keys=LabelKeys(), r_max=[5.0], **options)
    store = FrameStore(report.shards)
    frames = [store.frame(place) for place in range(len(store))]
    return sorted(frames, key=lambda frame: frame.groups.get("mp_id", ""))


NAMES = ["a.extxyz.gz", "archive.zip", "archive.tar", "archive.tar.gz", "m.json"]
NAMES += ["m.json.gz", "a.db", "a.aselmdb"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"frames_per_shard": 9, "workers": 2}])
def test_every_form_gives_the_same_frames(tmp_path, structures, name, options):
    if name.endswith("lmdb") and ase_database.lmdb is None:
        pytest.skip("needs ase-db-backends")
    expected = frames_of(made(tmp_path, "x.extxyz", structures), tmp_path / "x")

    found = frames_of(made(tmp_path, name, structures), tmp_path / "o", **options)

    assert len(found) == len(expected) == 38
    for one, other in zip(found, expected):
        for array in ("atomic_numbers", "positions", "forces", "cell", "pbc"):
            np.testing.assert_array_equal(getattr(one, array), getattr(other, array))
        np.testing.assert_allclose(one.stress, other.stress, rtol=1e-12, atol=1e-12)
        assert (one.energy, one.groups) == (other.energy, other.groups)


def test_an_archive_is_the_same_preparation_as_its_folder(tmp_path, structures):
    texts = member_texts(structures)
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = sorted(tmp_path / name for name in texts)
    archive = write_zip(tmp_path / "a.zip", dict(sorted(texts.items())))
    options = {"keys": LabelKeys(), "r_max": [5.0]}

    one = prepare_shards(folder, tmp_path / "one", **options)
    two = prepare_shards([archive], tmp_path / "two", **options)

    names = [FrameStore(report.shards).sources[0] for report in (one, two)]
    assert sorted(names[0]) == sorted(names[1])
    assert names[1][0].endswith(".extxyz")
    assert "/" not in names[1][0]


def test_there_is_a_reader_for_each_form():
    assert set(FRAME_FORMATS) == set(get_args(Form))
