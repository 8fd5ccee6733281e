"""Statistics: exact sums over the training frames, and never a NaN."""

from dataclasses import replace

import numpy as np
import pytest
from made_stores import (
    R_MAX,
    SHARED_DATA,
    atom_frame,
    count_edges,
    made_frame,
    store_of,
    without_labels,
)

from mace_train.data.frame_reader import LabelKeys
from mace_train.data.prepare import prepare_shards
from mace_train.data.statistics import compute_statistics
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable

ELEMENTS = ElementTable((3, 8))
FRAMES = [made_frame(k, numbers=(3, 8, 3, 8)[: 1 + k % 4]) for k in range(12)]


def computed(store, indices=None, *, elements=ELEMENTS, **options):
    places = np.arange(len(store)) if indices is None else np.asarray(indices)
    return compute_statistics(store, places, elements=elements, r_max=R_MAX, **options)


def test_mean_neighbors_are_all_edges_over_all_atoms(tmp_path):
    lonely = replace(made_frame(50, numbers=(3,)), cell=np.eye(3) * 9.0)
    frames = [*FRAMES, lonely]
    statistics = computed(store_of(tmp_path, frames, per_shard=5))
    edges = sum(count_edges(frame, R_MAX) for frame in frames)
    atoms = sum(frame.num_atoms for frame in frames)
    assert statistics.avg_num_neighbors == edges / atoms
    assert (statistics.num_edges, statistics.num_atoms) == (edges, atoms)


def test_a_dimer_and_a_lone_atom_have_two_thirds_of_a_neighbor(tmp_path):
    dimer = replace(
        made_frame(0, numbers=(3, 8)),
        positions=np.array([[0.0, 0, 0], [0, 0, 1.5]]),
        cell=np.eye(3) * 20,
    )
    lone = replace(made_frame(1, numbers=(3,)), cell=np.eye(3) * 20)
    statistics = computed(store_of(tmp_path, [dimer, lone]))
    assert statistics.avg_num_neighbors == pytest.approx(2 / 3, rel=1e-15)


def test_scale_is_the_rms_of_labelled_force_components(tmp_path):
    frames = [*FRAMES, without_labels(made_frame(20), "forces")]
    frames += [replace(made_frame(21), forces_weight=0.0)]
    components = np.concatenate([frame.forces.ravel() for frame in FRAMES])
    statistics = computed(store_of(tmp_path, frames))
    assert statistics.scale == pytest.approx(np.sqrt(np.mean(components**2)), rel=1e-14)


def test_shift_is_the_mean_interaction_energy_per_atom(tmp_path):
    frames = [*FRAMES, without_labels(made_frame(20), "energy")]
    statistics = computed(store_of(tmp_path, frames))
    energies = dict(zip((3, 8), statistics.atomic_energies))
    interaction = [
        (frame.energy - sum(energies[n] for n in frame.atomic_numbers.tolist()))
        / frame.num_atoms
        for frame in FRAMES
    ]
    assert statistics.shift == pytest.approx(np.mean(interaction), rel=1e-10)


def test_isolated_atoms_count_for_e0s_alone(tmp_path):
    atoms = [atom_frame(3, -1.0), atom_frame(8, -2.0)]
    statistics = computed(store_of(tmp_path, [*FRAMES, *atoms]), e0s="isolated_atoms")
    assert statistics.atomic_energies.tolist() == [-1.0, -2.0]
    expected = np.mean(
        [
            (f.energy - np.choose(f.atomic_numbers == 8, [-1.0, -2.0]).sum()) / f.num_atoms
            for f in FRAMES
        ]
    )
    assert statistics.shift == pytest.approx(expected, rel=1e-12)


def test_only_the_given_frames_count(tmp_path):
    part = [1, 4, 5, 10]
    whole = computed(store_of(tmp_path / "a", FRAMES, per_shard=5), part)
    alone = computed(store_of(tmp_path / "b", [FRAMES[place] for place in part]))
    assert whole.table() == alone.table()
    assert (whole.scale, whole.shift) == (alone.scale, alone.shift)
    assert whole.num_frames == 4


def test_blocks_of_frames_give_the_same_sums(tmp_path, monkeypatch):
    store = store_of(tmp_path, FRAMES)
    whole = computed(store)
    monkeypatch.setattr("mace_train.data.statistics._ROWS", 5)
    assert computed(store).shift == pytest.approx(whole.shift, rel=1e-13)
    assert computed(store).atom_counts.tolist() == whole.atom_counts.tolist()


@pytest.mark.parametrize(
    "frames",
    [
        [atom_frame(3, -1.0)],
        [without_labels(made_frame(0), "energy", "forces", "stress")],
        [replace(made_frame(0), forces=np.zeros((3, 3)))],
        [made_frame(0)],
    ],
    ids=["only an atom", "no labels", "no forces at all", "one frame"],
)
def test_nothing_is_ever_nan(tmp_path, frames):
    statistics = computed(store_of(tmp_path, frames))
    numbers = [statistics.avg_num_neighbors, statistics.scale, statistics.shift]
    assert np.isfinite([*numbers, *statistics.atomic_energies]).all()
    assert statistics.scale > 0
    assert statistics.avg_num_neighbors > 0


def test_undetermined_elements_are_named(tmp_path, caplog):
    frames = [made_frame(k, numbers=(3, 8)) for k in range(3)]
    statistics = computed(store_of(tmp_path, frames), elements=ElementTable((1, 3, 8)))
    assert "do not determine the E0s of H, Li, O" in statistics.warnings[0]
    assert statistics.warnings[0] in caplog.text
    assert statistics.table().count("?") == 3


def test_the_table_shows_atoms_and_energy_of_each_element(tmp_path):
    lines = computed(store_of(tmp_path, FRAMES), e0s="mp0").table().splitlines()
    assert lines[0].split() == ["element", "atoms", "E0", "(eV,", "mp0)"]
    assert lines[1].split() == ["Li", "18", "-3.482101"]
    assert len(lines) == 3


def test_no_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no training frames"):
        computed(store_of(tmp_path, FRAMES), np.zeros(0, int))


def test_real_mptrj_frames_give_numbers_like_the_published_ones(tmp_path):
    path = SHARED_DATA / "mptrj_random_dev.extxyz"
    if not path.exists():
        pytest.skip("needs the real MPtrj frames of ../shared/data")
    report = prepare_shards([path], tmp_path, keys=LabelKeys(), r_max=[6.0])
    store = FrameStore(report.shards)
    statistics = compute_statistics(
        store,
        np.arange(len(store)),
        elements=ElementTable.containing(store.atomic_numbers.tolist()),
        r_max=6.0,
        e0s="mp0",
    )
    assert statistics.avg_num_neighbors == pytest.approx(62.0, abs=0.5)
    assert statistics.shift == pytest.approx(0.164, abs=0.05)
    assert statistics.determined.all()
