"""Names and units of labels, as a user may give them."""

from collections import Counter

import pytest
from ase import units

from mace_train.data.labels import ANGSTROM_PER_UNIT, EV_PER_UNIT, KeyCounts, LabelKeys


def test_units_are_those_of_codata():
    assert EV_PER_UNIT["kcal/mol"] == pytest.approx(0.0433641, rel=1e-6)
    assert EV_PER_UNIT["kJ/mol"] == pytest.approx(0.01036427, rel=1e-6)
    assert EV_PER_UNIT["hartree"] == pytest.approx(27.211386, rel=1e-7)
    assert EV_PER_UNIT["hartree"] == pytest.approx(2 * EV_PER_UNIT["rydberg"])
    assert EV_PER_UNIT["meV"] == 1e-3
    assert ANGSTROM_PER_UNIT["bohr"] == units.Bohr
    assert ANGSTROM_PER_UNIT["nm"] == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"energy_unit": "kcal"}, r"data\.units\.energy=kcal is not known.*kcal/mol"),
        ({"length_unit": "pm"}, r"data\.units\.length=pm is not known.*bohr"),
        ({"virials": "virial", "stress": "stress"}, r"data\.virials_key=virial.*drop"),
    ],
)
def test_unusable_keys_are_refused(monkeypatch, options, message):
    keys = LabelKeys()
    for name, value in options.items():
        object.__setattr__(keys, name, value)  # past the type checks of the tests

    with pytest.raises(ValueError, match=message):
        keys.__post_init__()


def test_only_named_keys_are_explicit():
    keys = LabelKeys(energy="E", forces="none", virials="W")

    assert keys.explicit() == {"energy_key": "E", "virials_key": "W"}


def test_counts_add_up_and_survive_writing():
    first, second = KeyCounts(), KeyCounts(passed_over=2)
    first.used["energy"]["energy"] = 3
    first.offer([("energy", "U0")])
    second.offer([("energy", "U0"), ("forces", "f")])
    second.used["energy"].update({"energy": 1, "REF_energy": 1})

    first.merge(second)

    assert first.used["energy"] == Counter(energy=4, REF_energy=1)
    assert KeyCounts.from_dict(first.to_dict()) == first
    assert first.offered == {"energy": Counter(U0=2), "forces": Counter(f=1)}
    assert first.passed_over == 2


def test_counts_of_earlier_shards_offer_nothing():
    old = {"used": {"energy": {"energy": 3}}, "passed_over": 1}

    assert KeyCounts.from_dict(old).offered == {}
