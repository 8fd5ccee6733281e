"""E0s: exact where the data determines them, and honest where it does not."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_stores import atom_frame, made_frame, store_of, without_labels

from mace_train.data.e0s import element_counts, find_atomic_energies, read_atomic_energies
from mace_train.data.mp0 import MP0_E0S
from mace_train.elements import ElementTable

ELEMENTS = ElementTable((1, 3, 8))
TRUE = {1: -3.5, 3: -1.25, 8: -7.75}


def frames_of(*compositions, noise=0.0):
    generator = np.random.default_rng(0)
    return [
        replace(
            made_frame(k, numbers=numbers),
            energy=sum(TRUE[n] for n in numbers) + noise * generator.normal(),
        )
        for k, numbers in enumerate(compositions)
    ]


def found(store, *, elements=ELEMENTS, e0s="least_squares", indices=None):
    places = np.arange(len(store)) if indices is None else np.array(indices)
    return find_atomic_energies(store, places, elements=elements, e0s=e0s)


def test_least_squares_finds_the_true_energies(tmp_path):
    store = store_of(tmp_path, frames_of((1, 8), (1, 1, 8), (3, 8), (3, 3, 1)))
    energies = found(store)
    np.testing.assert_allclose(energies.values, [-3.5, -1.25, -7.75], rtol=1e-12)
    assert energies.determined.all()


def test_least_squares_agrees_with_numpy_on_noisy_energies(tmp_path, monkeypatch):
    monkeypatch.setattr("mace_train.data.e0s._ROWS", 7)  # several blocks
    generator = np.random.default_rng(3)
    compositions = [
        tuple(int(z) for z in generator.choice([1, 3, 8], generator.integers(1, 9)))
        for _ in range(60)
    ]
    frames = frames_of(*compositions, noise=0.5)
    matrix = np.array([[c.count(n) for n in (1, 3, 8)] for c in compositions], float)
    expected = np.linalg.lstsq(matrix, [frame.energy for frame in frames], rcond=None)[0]
    store = store_of(tmp_path, frames, per_shard=9)
    np.testing.assert_allclose(found(store).values, expected, rtol=1e-11)


@pytest.mark.parametrize("rows", [7, 50, 1000])
def test_runs_of_one_composition_are_merged_without_a_trace(tmp_path, monkeypatch, rows):
    monkeypatch.setattr("mace_train.data.e0s._ROWS", rows)
    monkeypatch.setattr("mace_train.data.e0s._CACHED_ROWS", 5)
    generator = np.random.default_rng(5)
    compositions = [
        composition
        for _ in range(25)
        for composition in [
            tuple(int(z) for z in generator.choice([1, 3, 8], generator.integers(1, 6)))
        ]
        * int(generator.integers(1, 12))
    ]
    frames = frames_of(*compositions, noise=0.5)
    matrix = np.array([[c.count(n) for n in (1, 3, 8)] for c in compositions], float)
    expected = np.linalg.lstsq(matrix, [frame.energy for frame in frames], rcond=None)[0]
    energies = found(store_of(tmp_path, frames, per_shard=40))
    np.testing.assert_allclose(energies.values, expected, rtol=1e-11)
    assert energies.determined.all()


def test_elements_in_a_fixed_ratio_are_undetermined_and_of_least_norm(tmp_path):
    frames = frames_of((3, 8), (3, 8, 3, 8), (1,), (1, 1))
    energies = found(store_of(tmp_path, frames))
    assert energies.determined.tolist() == [True, False, False]
    assert energies.values[0] == pytest.approx(-3.5, rel=1e-12)
    assert energies.values[1] == pytest.approx(-4.5, rel=1e-12)  # half of -9 each
    assert energies.values[2] == pytest.approx(-4.5, rel=1e-12)


def test_an_element_without_frames_gets_zero_and_is_undetermined(tmp_path):
    energies = found(store_of(tmp_path, frames_of((3,), (3, 3))))
    assert energies.determined.tolist() == [False, True, False]
    np.testing.assert_allclose(energies.values, [0.0, -1.25, 0.0], atol=1e-14)


def test_a_single_frame_gives_finite_energies(tmp_path):
    energies = found(store_of(tmp_path, frames_of((1, 3, 8))))
    assert np.isfinite(energies.values).all()
    assert not energies.determined.any()
    assert energies.values.sum() == pytest.approx(-12.5, rel=1e-12)


def test_only_training_frames_with_an_energy_count(tmp_path):
    good = frames_of((1, 8), (1, 1, 8), (3, 8), (3, 3, 1))
    wrong = replace(good[0], energy=500.0)
    absent = without_labels(wrong, "energy")
    unweighted = replace(wrong, energy_weight=0.0)
    atom = atom_frame(8, 77.0)
    store = store_of(tmp_path, [*good, absent, unweighted, atom, wrong])
    energies = found(store, indices=range(7))
    np.testing.assert_allclose(energies.values, [-3.5, -1.25, -7.75], rtol=1e-12)


def test_without_energies_all_are_zero_and_undetermined(tmp_path):
    frames = [without_labels(frame, "energy") for frame in frames_of((1, 3, 8))]
    energies = found(store_of(tmp_path, frames))
    assert energies.values.tolist() == [0, 0, 0]
    assert not energies.determined.any()


def test_isolated_atoms_give_their_energies(tmp_path):
    atoms = [atom_frame(n, TRUE[n]) for n in (8, 1, 3)]
    store = store_of(tmp_path, [*frames_of((1, 3, 8)), *atoms])
    energies = found(store, e0s="isolated_atoms", indices=[0])  # wherever they are
    assert energies.values.tolist() == [-3.5, -1.25, -7.75]
    assert energies.determined.all()


def test_a_missing_isolated_atom_is_named(tmp_path):
    store = store_of(tmp_path, [*frames_of((1, 3, 8)), atom_frame(3, -1.0)])
    with pytest.raises(ValueError, match=r"isolated_atoms: no E0 of H, O \(no frame is"):
        found(store, e0s="isolated_atoms")


def test_isolated_atoms_that_disagree_are_refused(tmp_path):
    store = store_of(tmp_path, [atom_frame(3, -1.0), atom_frame(3, -1.1, index=4)])
    with pytest.raises(ValueError, match=r"two isolated atoms of Li .* frame 4, Li"):
        found(store, e0s="isolated_atoms", elements=ElementTable((3,)))


def test_mp0_gives_the_published_energies(tmp_path):
    energies = found(store_of(tmp_path, frames_of((1, 3, 8))), e0s="mp0")
    assert energies.values.tolist() == [MP0_E0S[number] for number in (1, 3, 8)]


def test_mp0_does_not_know_polonium(tmp_path):
    store = store_of(tmp_path, [made_frame(0, numbers=(84,))])
    with pytest.raises(ValueError, match=r"mp0: no E0 of Po .*least_squares"):
        found(store, e0s="mp0", elements=ElementTable((84,)))


@pytest.mark.parametrize(
    "content",
    [
        {"1": -3.5, "3": -1.25, "8": -7.75},
        {"H": -3.5, "Li": -1.25, "O": -7.75, "Si": 1},
        {"atomic_energies": {"1": -3.5, "Li": -1.25, "8": -7.75}, "source": "x"},
    ],
)
def test_a_file_may_name_elements_by_number_or_symbol(tmp_path, content):
    path = tmp_path / "e0s.json"
    path.write_text(json.dumps(content))
    energies = found(store_of(tmp_path, frames_of((1, 3, 8))), e0s=str(path))
    assert energies.values.tolist() == [-3.5, -1.25, -7.75]


def test_a_file_without_an_element_is_refused_by_its_name(tmp_path):
    path = tmp_path / "e0s.json"
    path.write_text('{"1": -3.5, "3": -1.25}')
    with pytest.raises(ValueError, match=r"e0s\.json: no E0 of O"):
        found(store_of(tmp_path, frames_of((1, 3, 8))), e0s=str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1, 2]", "must hold a mapping"),
        ("{}", "must hold a mapping"),
        ('{"Xx": 1}', "'Xx' is no element"),
        ('{"0": 1}', "'0' is no element"),
        ('{"119": 1}', "'119' is no element"),
        ('{"H": NaN}', "energy of H is nan"),
        ('{"H": "-3"}', "energy of H is '-3'"),
        ('{"H": true}', "energy of H is True"),
    ],
)
def test_unfit_files_are_refused(tmp_path, text, message):
    (tmp_path / "e0s.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_atomic_energies(tmp_path / "e0s.json")


def test_a_misspelt_word_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"there is no such file.*least_squares"):
        read_atomic_energies(tmp_path / "leastsquares")


def test_counts_follow_the_given_order(tmp_path):
    store = store_of(tmp_path, frames_of((1, 8), (3,), (8, 8, 1)))
    counts = element_counts(store, np.array([2, 0]), ELEMENTS)
    assert counts.tolist() == [[1, 0, 2], [1, 0, 1]]


def test_an_element_outside_the_table_is_named(tmp_path):
    store = store_of(tmp_path, frames_of((1, 8)))
    with pytest.raises(ValueError, match="element O is not known"):
        element_counts(store, np.array([0]), ElementTable((1, 3)))
