"""The reaction on copper: its ends, its band, and frames around them; EMT for CHGNet."""

from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT


@pytest.fixture
def copper(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    from structures import copper

    return copper


def test_the_reaction_joins_the_same_atoms(copper):
    start, end = copper.reaction_ends()
    assert str(start.symbols) == str(end.symbols) == "Cu12OCO"
    assert start.get_distance(13, 14) == pytest.approx(1.15, abs=0.01)
    assert start.get_distance(12, 13, mic=True) > 2.8
    for carbon_oxygen in (end.get_distance(12, 13), end.get_distance(13, 14)):
        assert carbon_oxygen == pytest.approx(1.24, abs=0.02)
    above = start.get_distances(12, range(12), mic=True)
    assert (above < above.min() + 0.1).sum() == 3  # O in a hollow
    assert start.positions[12, 2] > start.positions[:12, 2].max() + 1.0
    neb = copper.band(start, end, EMT(), num_images=3)
    lengths = [image.get_distance(12, 13, mic=True) for image in neb.images]
    assert lengths == sorted(lengths, reverse=True)
    assert all(image.constraints for image in neb.images)


def test_the_adsorbate_is_jostled_and_the_slab_hardly(copper):
    start, _ = copper.reaction_ends()
    moved = [
        lesson.atoms.positions - start.positions
        for lesson in copper.jostled(start, copper.NUM_SLAB, 40, seed=0)
    ]
    assert np.std([each[:12] for each in moved]) == pytest.approx(0.03, rel=0.1)
    assert 0.07 < np.std([each[12:] for each in moved]) < 0.13
    assert all(
        lesson.copies == 1 for lesson in copper.jostled(start, copper.NUM_SLAB, 2, seed=1)
    )
