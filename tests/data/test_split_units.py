"""Which frames belong together: told by a key that is of use, else by their positions."""

from dataclasses import replace

import numpy as np
import pytest
from made_stores import made_frame, store_of

from mace_train.data.labels import GROUP_KEYS
from mace_train.data.split_units import find_units


def walk(count, **groups):
    """A slow trajectory; each group key gives the name of a frame from its place."""
    start = np.random.default_rng(0).uniform(0, 4, (3, 3))
    path = np.random.default_rng(1).normal(0, 0.02, (count, 3, 3)).cumsum(axis=0)
    return [
        replace(
            made_frame(k),
            positions=start + path[k],
            groups={key: str(name(k)) for key, name in groups.items()},
        )
        for k in range(count)
    ]


def units_of(tmp_path, frames, method="auto", group_key="auto", **options):
    options = {"wanted": 2, "length": 5} | options
    store = store_of(tmp_path, frames)
    free = np.arange(len(frames))
    return find_units(store, method, group_key, free=free, **options)


def independent(count, **groups):
    return [
        replace(made_frame(k), groups={key: str(name(k)) for key, name in groups.items()})
        for k in range(count)
    ]


@pytest.mark.parametrize("key", GROUP_KEYS)
def test_every_known_key_groups_frames(tmp_path, key):
    units, method, warnings = units_of(tmp_path, walk(40, **{key: lambda k: k // 10}))

    assert method == "group"
    assert warnings == []
    assert units.tolist() == np.repeat(range(4), 10).tolist()


def test_a_number_of_the_frame_is_no_group(tmp_path):
    units, method, _ = units_of(tmp_path, walk(40, structure_id=lambda k: k))
    assert method == "blocks"
    assert units.tolist() == np.repeat(range(8), 5).tolist()

    _, method, _ = units_of(tmp_path / "b", independent(40, structure_id=lambda k: k))
    assert method == "random"


def test_a_key_that_tears_a_trajectory_apart_is_passed_over(tmp_path, caplog):
    frames = walk(40, group=lambda k: k % 2)
    assert units_of(tmp_path, frames)[1] == "blocks"
    assert "passes over group, which changes from frame to frame" in caplog.text

    units, method, _ = units_of(tmp_path, frames, group_key="group")
    assert method == "group"
    assert units.tolist() == [0, 1] * 20


def test_mixed_frames_of_molecules_are_grouped(tmp_path):
    _, method, _ = units_of(tmp_path, independent(40, mol_id=lambda k: k % 7))
    assert method == "group"


def test_a_key_that_few_frames_carry_is_passed_over(tmp_path):
    named = independent(10, run_id=lambda k: k // 5)
    others = independent(30)
    assert units_of(tmp_path / "a", named + others)[1] == "random"
    assert units_of(tmp_path / "b", named + others[:8])[1] == "group"


def test_the_next_key_is_tried(tmp_path):
    frames = walk(40, material_id=lambda k: k, run_id=lambda k: k // 20)
    units, method, _ = units_of(tmp_path, frames)
    assert (method, units.tolist()) == ("group", [0] * 20 + [1] * 20)


def test_config_type_never_groups(tmp_path):
    frames = [
        replace(f, config_type=f"type{k // 10}") for k, f in enumerate(independent(40))
    ]
    assert units_of(tmp_path, frames)[1] == "random"


@pytest.mark.parametrize(
    ("count", "length", "num_blocks", "largest"),
    [
        (20, 1, 20, 1),
        (20, 2, 10, 2),
        (43, 4, 11, 4),
        (100, 10, 10, 10),
        (200, 20, 20, 10),  # several blocks validate
        (2000, 200, 50, 40),
    ],
)
def test_blocks_are_as_long_as_the_smallest_subset_or_ten_frames(
    tmp_path, count, length, num_blocks, largest
):
    frames = independent(count)
    units, method, _ = units_of(tmp_path, frames, "blocks", length=length)
    sizes = np.bincount(units)
    assert method == "blocks"
    assert (np.diff(units) >= 0).all()
    assert (len(sizes), sizes.max()) == (num_blocks, largest)
    assert sizes.min() >= largest - 1


def test_no_block_lies_in_two_files(tmp_path):
    frames = [replace(f, source=f"{k // 12}.xyz") for k, f in enumerate(independent(36))]
    units, *_ = units_of(tmp_path, frames, "blocks", length=9)
    for first in (0, 12, 24):
        assert units[first] not in units[:first]
    assert np.bincount(units).tolist() == [12, 12, 12]
