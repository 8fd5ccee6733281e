"""Names that look like labels are offered; others, and wrong shapes, are not."""

import pytest

from mace_train.data.labels import KNOWN_KEYS
from mace_train.data.look_alikes import commands, look_alike, offer_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mace_mp_energy", "energy"),
        ("total_energy", "energy"),
        ("free_dft_energy", "energy"),
        ("U0", "energy"),
        ("TOTEN", "energy"),
        ("qm_Forces", "forces"),
        ("virial_stress", "virials"),
        ("gap_virial", "virials"),
        ("REF-stress", "stress"),
        ("corrected_total_energy", None),
        ("energy_corrected", None),
        ("energy_per_atom", None),
        ("kinetic_energy", None),
        ("config_energy_weight", None),
        ("cut_off_energy", None),
        ("homo_energy", None),
        ("elec_energy_tol", None),
        ("mp_id", None),
        ("U", None),
    ],
)
def test_a_name_tells_what_it_may_stand_for(name, expected):
    assert look_alike(name) == expected


def test_every_known_key_would_be_offered_for_its_own_label():
    for label, keys in KNOWN_KEYS.items():
        assert {look_alike(key) for key in keys} == {label}


@pytest.mark.parametrize(
    ("name", "size", "per_atom", "expected"),
    [
        ("my_energy", 1, False, "energy"),
        ("my_energy", 3, False, None),
        ("my_energy", 1, True, None),  # energies of atoms
        ("my_forces", 3, True, "forces"),
        ("my_forces", 1, True, None),
        ("my_forces", 3, False, None),
        ("my_stress", 6, False, "stress"),
        ("my_stress", 9, False, "stress"),
        ("my_stress", 3, False, None),
        ("my_virial", 9, False, "virials"),
        ("my_virial", 9, True, None),
        ("mp_id", 1, False, None),
    ],
)
def test_the_shape_has_to_fit(name, size, per_atom, expected):
    assert offer_of(name, size, per_atom=per_atom) == expected


def test_the_most_frequent_name_is_offered_first():
    assert commands("forces", {"b": 2, "a": 2, "c": 5}) == [
        "c is in 5 frames: mace-train ... data.forces_key=c",
        "a is in 2 frames: mace-train ... data.forces_key=a",
        "b is in 2 frames: mace-train ... data.forces_key=b",
    ]
