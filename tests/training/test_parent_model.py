import numpy as np

from mace_train.data.statistics import Statistics
from mace_train.elements import ElementTable
from mace_train.training.parent_model import Parent

TABLE = ElementTable((1, 6, 8))


def statistics(energies):
    return Statistics(
        avg_num_neighbors=10.0,
        scale=1.0,
        shift=0.0,
        atomic_energies=np.array(energies),
        determined=np.array([True, False, True]),
        e0_source="parent",
        atomic_numbers=TABLE.atomic_numbers,
        num_frames=0,
        num_atoms=0,
        num_edges=0,
        atom_counts=np.zeros(3, np.int64),
    )


def test_all_elements_are_kept_unless_the_data_decide():
    assert Parent(TABLE).kept_elements({8}) == TABLE
    assert Parent(TABLE, keeps_all=False).kept_elements({8, 1}) == ElementTable((1, 8))


def test_statistics_are_those_of_the_kept_elements_in_the_order_of_heads():
    by_head = {"new": statistics([1.0, 2.0, 3.0]), "old": statistics([4.0, 5.0, 6.0])}
    kept = Parent(TABLE, by_head).statistics_of(ElementTable((6, 8)))
    assert list(kept) == ["new", "old"]
    assert kept["old"].atomic_energies.tolist() == [5.0, 6.0]
    assert kept["new"].determined.tolist() == [False, True]
    assert kept["new"].atomic_numbers == (6, 8)
