import numpy as np
import pytest
from ase.io import read
from small_crystals import make_frame, small_model, store_of, without, write_frames

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.finetuning.replay import replay_sets, user_sets


@pytest.fixture
def parent():
    return small_model((3, 8))


def sets_of(tmp_path, parent, spec, labels="auto"):
    def open_set(one):
        return open_store(
            one.path, keys=LabelKeys(), r_max=parent.r_max, cache_dir=tmp_path / "cache"
        )

    return replay_sets(
        spec, labels=labels, parent=parent, folder=tmp_path / "replay", open_set=open_set
    )


def test_labelled_frames_keep_their_labels_and_weights(tmp_path, parent):
    path = write_frames(tmp_path / "old.xyz", [make_frame(i) for i in range(3)])
    (one,) = sets_of(tmp_path, parent, [{"path": path, "weight": 0.25}])
    assert one["path"] == path
    assert (one["head"], one["weight"], one["hold_out"]) == ("Default", 0.25, False)
    assert one["name"] == "replay old.xyz"
    assert not (tmp_path / "replay").exists()


@pytest.mark.parametrize("missing", ["energy", "forces"])
def test_the_parent_labels_frames_that_lack_a_label(tmp_path, parent, missing):
    frames = [make_frame(i) for i in range(3)]
    without(frames[1], missing)
    path = write_frames(tmp_path / "old.xyz", frames)
    (one,) = sets_of(tmp_path, parent, path)
    assert one["path"] == str(tmp_path / "replay" / "0.extxyz")
    assert one["energy_key"] == "auto"
    assert one["units"] == {"energy": "eV", "length": "angstrom"}
    labelled = read(one["path"], ":")
    assert len(labelled) == 3
    np.testing.assert_allclose(labelled[2].positions, frames[2].positions, atol=1e-8)


def test_labels_of_the_file_are_kept_or_replaced_on_the_users_word(tmp_path, parent):
    frames = [make_frame(i) for i in range(3)]
    path = write_frames(tmp_path / "old.xyz", frames)
    (kept,) = sets_of(tmp_path, parent, path, labels="file")
    (replaced,) = sets_of(tmp_path, parent, path, labels="parent")
    assert kept["path"] == path
    energies = [atoms.get_potential_energy() for atoms in read(replaced["path"], ":")]
    own = [atoms.info["energy"] for atoms in frames]
    assert not np.allclose(energies, own)


def test_labels_are_made_anew_only_if_structures_or_parent_have_changed(tmp_path, parent):
    path = write_frames(tmp_path / "old.xyz", [make_frame(i) for i in range(3)])
    made = tmp_path / "replay" / "0.extxyz"

    def label(model):
        sets_of(tmp_path, model, path, labels="parent")
        return made.stat().st_mtime_ns, made.read_text()

    first = label(parent)
    assert label(parent) == first
    other = label(small_model((3, 8), seed=1))
    assert other[1] != first[1]
    write_frames(tmp_path / "old.xyz", [make_frame(i) for i in range(2)])
    label(parent)
    assert len(read(made, ":")) == 2


def test_a_set_that_is_replayed_has_the_parents_head(tmp_path, parent):
    path = write_frames(tmp_path / "old.xyz", [make_frame(0)])
    with pytest.raises(ValueError, match="replayed to the parent's head Default"):
        sets_of(tmp_path, parent, [{"path": path, "head": "mine"}])


def test_the_users_sets_have_the_users_head(tmp_path):
    path = write_frames(tmp_path / "mine.xyz", [make_frame(0)])
    (one,) = user_sets("data.train", path, head="mine")
    assert one["head"] == "mine"
    assert one["path"] == path
    with pytest.raises(ValueError, match=r"finetune\.head=pbe"):
        user_sets("data.train", [{"path": path, "head": "pbe"}], head="mine")


def test_a_store_of_labelled_frames_is_what_auto_looks_at(tmp_path):
    store = store_of(tmp_path, [make_frame(0)])
    assert store.label_presence["energy"].all()
