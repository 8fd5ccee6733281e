"""Files as users really have them: each is read rightly, or refused with one clear message.

The tables are the specification. Files lie outside of the repository.
"""

from pathlib import Path

import pytest

from mace_train.data.census import Census
from mace_train.data.frame_reader import LabelKeys, read_frames

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MESSY = SHARED_DATA / "messy"

pytestmark = pytest.mark.skipif(not MESSY.is_dir(), reason="needs ../shared/data")

# file, keys and options, frames, (energy, forces, stress) labels, isolated atoms
READ = [
    ("equitrain_alex_mptraj63.xyz", {}, 63, (63, 63, 63), 0),
    ("equitrain_alex_mptraj63.xyz", {"energy": "energy_corrected"}, 63, (63, 63, 63), 0),
    ("ethanol_test_dimers.xyz", {}, 429, (429, 0, 0), 0),
    ("graphpes_Cu_surfaces.xyz", {}, 10, (10, 10, 10), 0),
    ("janus_NaCl_dft_stress9.xyz", {}, 11, (11, 11, 11), 0),
    ("janus_NaCl_dft_stress9.xyz", {"energy": "free_dft_energy"}, 11, (11, 11, 11), 0),
    ("janus_NaCl_md_noforces.xyz", {}, 4, (4, 0, 4), 0),
    ("janus_NaCl_two_label_sets_json_info.extxyz", {}, 1, (1, 1, 1), 0),
    (
        "janus_NaCl_two_label_sets_json_info.extxyz",
        {
            "energy": "mace_mp_energy",
            "forces": "mace_mp_forces",
            "stress": "mace_mp_stress",
        },
        1,
        (1, 1, 1),
        0,
    ),
    ("janus_ZrMOF_dft_keys_isolated.xyz", {}, 22, (22, 22, 18), 4),
    ("macetut_ECEMC_isolated_virial.xyz", {}, 13, (13, 10, 0), 3),
    ("macetut_ECEMC_isolated_virial.xyz", {"virials": "virial"}, 13, (13, 10, 10), 3),
    ("metatrain_carbon_castep_force_virial.xyz", {}, 100, (100, 100, 0), 0),
    (
        "metatrain_carbon_castep_force_virial.xyz",
        {"virials": "virial"},
        100,
        (100, 100, 100),
        0,
    ),
    ("metatrain_ethanol_kcalmol.xyz", {"energy_unit": "kcal/mol"}, 100, (100, 100, 0), 0),
    ("metatrain_qm9_U0_noforces.xyz", {}, 100, (0, 0, 0), 0),
    (
        "metatrain_qm9_U0_noforces.xyz",
        {"energy": "U0", "energy_unit": "hartree"},
        100,
        (100, 0, 0),
        0,
    ),
    ("mlip_SPICE_charges_spin_json.xyz", {}, 5, (5, 5, 0), 0),
    ("mlip_aspirin_nolattice_charge_spin.xyz", {}, 2, (2, 2, 0), 0),
    ("sevenn_HfO2_outcars.extxyz", {}, 10, (10, 10, 10), 0),
    ("synth_config_weights.extxyz", {}, 1, (1, 1, 0), 0),
    ("synth_huge_force.extxyz", {"max_force": 5000.0}, 1, (1, 1, 1), 0),
    ("synth_huge_force.extxyz", {"max_force": 100.0}, 0, (0, 0, 0), 0),
    ("synth_no_stress.extxyz", {}, 2, (2, 2, 1), 0),
    ("synth_pbc_TTF.extxyz", {}, 1, (1, 1, 0), 0),
    ("synth_two_energies.extxyz", {"energy": "energy"}, 1, (1, 1, 1), 0),
    ("synth_two_energies.extxyz", {"energy": "REF_energy"}, 1, (1, 1, 1), 0),
]

# file, keys and options, part of the message
REFUSED = [
    (
        "metatrain_ethanol_kcalmol.xyz",
        {},
        r"100 of 100 frames have an energy below that of all their electrons.*frame 0, "
        r"H6C2O: -97079\.9.*data\.units\.energy=kcal/mol",
    ),
    (
        "metatrain_qm9_U0_noforces.xyz",
        {"energy": "U0"},
        r"energies are those of all electrons in hartree.*data\.units\.energy=hartree",
    ),
    (
        "metatrain_qm9_U0_noforces.xyz",
        {"energy": "REF_energy"},
        r"data\.energy_key=REF_energy is in none of 100 frames\. Names found: .*U0 \(100\)",
    ),
    (
        "synth_huge_force.extxyz",
        {},
        r"1 of 1 frames have forces beyond 1000 eV/Å.*frame 0, Mg14AlSb: 4210\.5 eV/Å on "
        r"atom 0.*data\.max_force=100",
    ),
    ("synth_nan_energy.extxyz", {}, r"1 of 1 frames have an energy that is NaN.*frame 0"),
    (
        "synth_nan_force.extxyz",
        {},
        r"1 of 1 frames have a force that is NaN or infinite.*frame 0, Mg14AlSb: forces of "
        r"atom 0",
    ),
    (
        "synth_no_lattice_pbcTTT.extxyz",
        {},
        r'1 of 1 frames say pbc="T T T" but have no Lattice.*write pbc="F F F"',
    ),
    (
        "synth_truncated.extxyz",
        {},
        r"cut off by the end of the file.*frame 0: line 1 announces 16 atoms, 10 follow",
    ),
    (
        "synth_two_energies.extxyz",
        {},
        r"1 of 1 frames carry more than one label for the energy.*energy=-30\.69383528, "
        r"REF_energy=-1\.0\). Choose one: data\.energy_key=energy or "
        r"data\.energy_key=REF_energy",
    ),
]

# All else in the folder of data reads as it is: file, frames, (energy, forces, stress)
GOOD = [
    ("3BPA_iso_atoms.xyz", 4, (4, 0, 0)),
    ("3BPA_train_300K.xyz", 500, (500, 500, 0)),
    ("acac_isolated_atoms.xyz", 3, (3, 0, 0)),
    ("acac_test_MD_300K.xyz", 650, (650, 650, 0)),
    ("acac_train_300K.xyz", 500, (500, 500, 0)),
    ("acac_train_600K.xyz", 500, (500, 500, 0)),
    ("ethanol_train_eth_meth.xyz", 1300, (1300, 1300, 0)),
    ("high_level_water.xyz", 10, (10, 10, 0)),
    ("mlearn_Li_test.extxyz", 29, (29, 29, 29)),
    ("mlearn_Li_training.extxyz", 241, (241, 241, 241)),
    ("mlearn_Si_test.extxyz", 25, (25, 25, 25)),
    ("mlearn_Si_training.extxyz", 214, (214, 214, 214)),
    ("mp_like_chgnet.extxyz", 1620, (1620, 1620, 1620)),
    ("mptrj_genuine_mp-1028232.extxyz", 8, (8, 8, 8)),
    ("mptrj_highstress_dev.extxyz", 215, (215, 215, 215)),
    ("mptrj_orb11.extxyz", 11, (11, 11, 11)),
    ("mptrj_random_dev.extxyz", 616, (616, 616, 616)),
    ("rmd17_aspirin_train.xyz", 1200, (1200, 1200, 0)),
    ("apps/ice13.extxyz", 13, (0, 0, 0)),
    ("apps/water_192_120.extxyz", 120, (120, 120, 0)),
]


def read(path, options):
    options = dict(options)
    max_force = options.pop("max_force", None)
    census = Census()
    keys = LabelKeys(**options)
    frames = list(read_frames(path, keys=keys, max_force=max_force, census=census))
    census.raise_problems()
    return frames, census


def label_counts(census):
    return tuple(census.labels[name] for name in ("energy", "forces", "stress"))


@pytest.mark.parametrize(("name", "options", "num_frames", "labels", "num_atoms"), READ)
def test_messy_file_is_read(name, options, num_frames, labels, num_atoms):
    frames, census = read(MESSY / name, options)

    assert len(frames) == census.num_frames == num_frames
    assert label_counts(census) == labels
    assert sum(frame.is_isolated_atom for frame in frames) == num_atoms


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_messy_file_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        read(MESSY / name, options)


def test_every_messy_file_stands_in_a_table():
    in_tables = {row[0] for row in READ} | {row[0] for row in REFUSED}

    assert in_tables == {path.name for path in MESSY.iterdir()}


MANY = 1000  # frames, from which on a file is read by the slow tests only


@pytest.mark.parametrize(
    ("name", "num_frames", "labels"),
    [
        pytest.param(*row, marks=pytest.mark.slow if row[1] >= MANY else (), id=row[0])
        for row in GOOD
    ],
)
def test_good_file_is_read(name, num_frames, labels):
    _, census = read(SHARED_DATA / name, {})

    assert census.num_frames == num_frames
    assert label_counts(census) == labels


def test_every_good_file_stands_in_the_table():
    files = [*SHARED_DATA.glob("*xyz"), *SHARED_DATA.glob("apps/*xyz")]

    assert {row[0] for row in GOOD} == {str(f.relative_to(SHARED_DATA)) for f in files}


def test_a_dataset_of_molecules_in_kcal_becomes_ev():
    path = MESSY / "metatrain_ethanol_kcalmol.xyz"

    frames, _ = read(path, {"energy_unit": "kcal/mol"})

    assert frames[0].energy == pytest.approx(-97079.92222178938 * 0.0433641, rel=1e-6)
    assert abs(frames[0].forces[0, 0]) == pytest.approx(
        32.31755688687 * 0.0433641, rel=1e-6
    )


def test_virials_become_a_stress_that_pulls_where_the_virial_pushes():
    path = MESSY / "metatrain_carbon_castep_force_virial.xyz"

    frames, _ = read(path, {"virials": "virial"})

    assert frames[0].stress[0, 0] == pytest.approx(-17.67401361 / frames[0].volume)


def test_a_frame_may_weigh_less_than_others():
    (frame,), _ = read(MESSY / "synth_config_weights.extxyz", {})

    assert frame.frame_weight == 0.5
    assert (frame.energy_weight, frame.forces_weight, frame.stress_weight) == (1, 1, 0)


def test_frames_beyond_the_largest_force_are_left_out_and_counted():
    _, census = read(MESSY / "synth_huge_force.extxyz", {"max_force": 100.0})

    assert "left out by max_force: 1" in census.summary()


def test_a_stress_without_full_periodicity_is_passed_over_and_said():
    (frame,), census = read(MESSY / "synth_pbc_TTF.extxyz", {})

    assert frame.stress is None
    assert "stress of 1 not fully periodic passed over" in census.summary()


def test_real_crystals_fit_their_own_stress():
    _, census = read(SHARED_DATA / "mlearn_Si_training.extxyz", {})

    ratios = sorted(census.evidence.stress_ratios)
    assert ratios[len(ratios) // 2] == pytest.approx(1.0, abs=0.02)
