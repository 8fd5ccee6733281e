import sys
from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.io import write

from mace_train.cli.config import compose
from mace_train.cli.evaluated_frames import open_frames, unknown_elements_left_out
from mace_train.elements import ElementTable

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import isolated_atom, make_frame, write_frames

LITHIUM_OXIDE = ElementTable((3, 8))


def opened(tmp_path, test, *overrides, r_max=4.0):
    words = [f"data.test={test}", f"data.cache_dir={tmp_path / 'cache'}", *overrides]
    config = compose("evaluate", ["calculator._target_=ase.calculators.emt.EMT", *words])
    return open_frames(config, r_max=r_max)


def bad():
    """Three crystals; an atom of the second has no place."""
    frames = [make_frame(i) for i in range(3)]
    frames[1].info["energy"] = float("nan")
    return frames


def test_all_frames_are_taken_isolated_atoms_too(tmp_path):
    frames = [make_frame(0), isolated_atom("Li", -1.0), make_frame(1)]
    found = opened(tmp_path, write_frames(tmp_path / "x.xyz", frames))
    assert found.indices.tolist() == [0, 1, 2]
    assert found.left_out == ()


@pytest.mark.parametrize("name", ["x.xyz", "x.traj", "x.db"])
def test_structures_need_no_labels(tmp_path, name):
    write(tmp_path / name, [bulk("Cu", cubic=True), molecule("H2O")])
    found = opened(tmp_path, tmp_path / name)
    assert len(found.indices) == 2
    assert found.store.frame(0).energy is None
    assert not found.store.label_presence["forces"].any()


def test_a_list_of_cif_files_is_read_in_its_order(tmp_path):
    for element, length in (("Cu", 3.6), ("Al", 4.05)):
        write(tmp_path / f"{element}.cif", bulk(element, a=length, cubic=True))
    found = opened(tmp_path, f"'{tmp_path}/*.cif'")
    assert [found.store.frame(i).formula for i in range(2)] == ["Al4", "Cu4"]
    reverse = opened(tmp_path, f"[{tmp_path}/Cu.cif,{tmp_path}/Al.cif]")
    assert [reverse.store.frame(i).source for i in range(2)] == ["Cu.cif", "Al.cif"]


def test_frames_that_cannot_be_used_are_refused_with_the_way_to_go_on(tmp_path):
    test = write_frames(tmp_path / "x.xyz", bad())
    with pytest.raises(ValueError, match=r"x\.xyz, frame 1") as error:
        opened(tmp_path, test)
    assert "NaN" in str(error.value)
    assert "To evaluate the other 2 frames, set bad_frames=leave_out" in str(error.value)
    assert "mace-prepare" not in str(error.value)


def test_frames_that_cannot_be_used_are_left_out_on_the_user_s_word(tmp_path):
    test = write_frames(tmp_path / "x.xyz", bad())
    found = opened(tmp_path, test, "bad_frames=leave_out")
    assert [found.store.frame(i).index for i in found.indices.tolist()] == [0, 2]
    assert len(found.left_out) == 1
    assert "x.xyz, frame 1, Li2O2: have an energy that is NaN" in found.left_out[0]
    with pytest.raises(ValueError, match="frame 1"):
        opened(tmp_path, test)  # the shards of the one are not taken for the other


def test_unknown_elements_are_refused_or_left_out(tmp_path):
    frames = [make_frame(0), make_frame(1, symbols=("Li", "Fe")), make_frame(2)]
    found = opened(tmp_path, write_frames(tmp_path / "x.xyz", frames))
    with pytest.raises(ValueError, match="m does not know Fe, which 1 of 3") as error:
        unknown_elements_left_out(found, LITHIUM_OXIDE, who="m", bad_frames="refuse")
    assert "x.xyz, frame 1, Li2Fe2" in str(error.value)
    assert "bad_frames=leave_out" in str(error.value)
    kept = unknown_elements_left_out(found, LITHIUM_OXIDE, who="m", bad_frames="leave_out")
    assert kept.indices.tolist() == [0, 2]
    assert kept.left_out == ("x.xyz, frame 1, Li2Fe2: m does not know all of its elements",)


def test_no_frame_that_the_model_knows_is_an_error(tmp_path):
    found = opened(
        tmp_path, write_frames(tmp_path / "x.xyz", [make_frame(0, symbols=("Fe",))])
    )
    with pytest.raises(ValueError, match=r"not know Fe, and every frame of data\.test"):
        unknown_elements_left_out(found, LITHIUM_OXIDE, who="m", bad_frames="leave_out")
