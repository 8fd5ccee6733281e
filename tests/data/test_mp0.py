"""The published constants are those of the released model."""

import json

import pytest
from made_stores import SHARED_DATA

from mace_train.data.mp0 import MP0_E0S
from mace_train.elements import MP0_ATOMIC_NUMBERS


def test_there_is_an_e0_for_each_element_of_mptrj():
    assert tuple(MP0_E0S) == MP0_ATOMIC_NUMBERS
    assert MP0_E0S[1] == -3.667168021358939
    assert all(-20 < energy < 10 for energy in MP0_E0S.values())


def test_they_agree_with_the_published_file():
    path = SHARED_DATA / "stats" / "mace_mp0_statistics.json"
    if not path.exists():
        pytest.skip("needs ../shared/data/stats")
    published = json.loads(path.read_text())["atomic_energies"]
    assert {int(number): energy for number, energy in published.items()} == MP0_E0S
