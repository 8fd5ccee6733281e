"""Each head's E0s, scale and shift come from its own frames; mean neighbors from all."""

import json

import numpy as np
import pytest
from small_crystals import R_MAX, isolated_atom, make_frame, store_of

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.data.mp0 import MP0_E0S
from mace_train.data.statistics import compute_statistics
from mace_train.elements import ElementTable
from mace_train.training.head_statistics import (
    compute_head_statistics,
    mean_neighbors,
    require_trained_heads,
)

ELEMENTS = ElementTable((3, 8, 9))


@pytest.fixture
def parts(tmp_path):
    oxides = [make_frame(i) for i in range(4)]
    fluorides = [make_frame(20 + i, symbols=("Li", "F")) for i in range(3)]
    atoms = [isolated_atom("Li", -1.0), isolated_atom("F", -2.0)]
    return [
        store_of(tmp_path, frames, name=name)
        for name, frames in (("a.xyz", oxides), ("b.xyz", fluorides), ("c.xyz", atoms))
    ]


@pytest.fixture
def store(parts):
    roles = [SetRole(0), SetRole(1), SetRole(1)]
    return MixedStore(parts, names=["a", "b", "c"], roles=roles, heads=["mp", "mine"])


def of_heads(store, indices=None, **e0s):
    indices = np.arange(len(store)) if indices is None else np.array(indices)
    return compute_head_statistics(store, indices, elements=ELEMENTS, r_max=R_MAX, e0s=e0s)


def test_one_head_has_the_statistics_of_all_frames(parts):
    options = {"elements": ELEMENTS, "r_max": R_MAX}
    indices = np.array([0, 2, 3])
    (one,) = compute_head_statistics(
        parts[0], indices, e0s={"Default": "least_squares"}, **options
    ).values()
    expected = compute_statistics(parts[0], indices, **options)
    assert one.atomic_energies.tolist() == expected.atomic_energies.tolist()
    assert (one.scale, one.shift) == (expected.scale, expected.shift)
    assert mean_neighbors({"Default": one}) == expected.avg_num_neighbors


def test_a_head_is_computed_from_its_own_training_frames(store, parts):
    indices = [0, 1, 3, 4, 6, 7, 8]
    found = of_heads(store, indices, mp="least_squares", mine="isolated_atoms")
    alone = compute_statistics(
        parts[0], np.array([0, 1, 3]), elements=ElementTable((3, 8)), r_max=R_MAX
    )
    assert list(found) == ["mp", "mine"]
    assert found["mp"].scale == alone.scale
    assert found["mp"].shift == alone.shift
    assert found["mp"].atomic_energies.tolist() == [*alone.atomic_energies, 0.0]
    assert found["mine"].atomic_energies.tolist() == [-1.0, 0.0, -2.0]
    assert found["mine"].determined.tolist() == [True, False, True]
    assert found["mine"].atom_counts.tolist() == [5, 0, 5]
    assert found["mine"].atomic_numbers == ELEMENTS.atomic_numbers
    edges = store.edge_counts(R_MAX)[indices].sum()
    assert mean_neighbors(found) == edges / store.num_atoms[indices].sum()


def test_published_e0s_and_those_of_a_file_are_known_beyond_the_frames(store, tmp_path):
    path = tmp_path / "e0s.json"
    path.write_text(json.dumps({"Li": -1.5, "O": -2.5, "F": -3.5, "H": -9.0}))
    found = of_heads(store, mp="mp0", mine=str(path))
    expected = [MP0_E0S[z] for z in ELEMENTS.atomic_numbers]
    assert found["mp"].atomic_energies.tolist() == expected
    assert found["mine"].atomic_energies.tolist() == [-1.5, -2.5, -3.5]
    assert found["mine"].determined.all()


def test_what_a_head_lacks_is_said_with_its_name(store):
    with pytest.raises(ValueError, match=r"head mp: data.e0s=isolated_atoms: no E0 of Li"):
        of_heads(store, mp="isolated_atoms", mine="mp0")
    with pytest.raises(ValueError, match="no frame of the head mine is left to train on"):
        of_heads(store, [0, 1, 7, 8], mp="mp0", mine="mp0")


def test_a_head_with_isolated_atoms_alone_has_no_training_frames(store, parts):
    require_trained_heads(store, np.array([0, 4]), ["mp", "mine"])
    with pytest.raises(ValueError, match="no frame of the head mine is left"):
        require_trained_heads(store, np.array([0, 7, 8]), ["mp", "mine"])
    with pytest.raises(ValueError, match="no frame of the head mp is left"):
        require_trained_heads(store, np.array([4]), ["mp", "mine"])
    require_trained_heads(parts[0], np.array([0]), ["mp"])
