"""The command on files as users really have them: trained with the right keys, or refused.

What the reader makes of each file is the table of ``tests/data/test_messy.py``.
"""

import math
from pathlib import Path

import pytest

import mace_train

MESSY = Path(__file__).resolve().parents[3] / "shared" / "data" / "messy"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MESSY.is_dir(), reason="needs ../shared/data/messy"),
]

SMALL_AND_SHORT = [
    "data=extxyz",
    "trainer=debug",
    "trainer.max_epochs=1",
    "model.hidden_irreps=2x0e",
    "model.radial_mlp=[4]",
    "model.correlation=1",
    "model.r_max=4",
    "data.valid_fraction=0",
    "report.figures=false",
]
NO_STRESS = ["loss=energy_forces"]
ENERGIES_ONLY = [*NO_STRESS, "loss.forces_weight=0"]

# file, what the user adds, which labels are learned
TRAINED = [
    ("equitrain_alex_mptraj63.xyz", [], "energy forces stress"),
    ("ethanol_test_dimers.xyz", ENERGIES_ONLY, "energy"),
    ("graphpes_Cu_surfaces.xyz", [], "energy forces stress"),
    ("janus_NaCl_dft_stress9.xyz", [], "energy forces stress"),
    ("janus_NaCl_md_noforces.xyz", ["loss.forces_weight=0"], "energy stress"),
    ("janus_NaCl_two_label_sets_json_info.extxyz", [], "energy forces stress"),
    (
        "janus_ZrMOF_dft_keys_isolated.xyz",
        ["data.e0s=isolated_atoms"],
        "energy forces stress",
    ),
    (
        "macetut_ECEMC_isolated_virial.xyz",
        ["data.virials_key=virial"],
        "energy forces stress",
    ),
    (
        "metatrain_carbon_castep_force_virial.xyz",
        ["data.virials_key=virial"],
        "energy forces stress",
    ),
    (
        "metatrain_ethanol_kcalmol.xyz",
        [*NO_STRESS, "data.units.energy=kcal/mol"],
        "energy forces",
    ),
    (
        "metatrain_qm9_U0_noforces.xyz",
        [*ENERGIES_ONLY, "data.energy_key=U0", "data.units.energy=hartree"],
        "energy",
    ),
    ("mlip_SPICE_charges_spin_json.xyz", NO_STRESS, "energy forces"),
    ("mlip_aspirin_nolattice_charge_spin.xyz", NO_STRESS, "energy forces"),
    ("sevenn_HfO2_outcars.extxyz", [], "energy forces stress"),
    ("synth_config_weights.extxyz", NO_STRESS, "energy forces"),
    ("synth_no_stress.extxyz", [], "energy forces stress"),
    ("synth_pbc_TTF.extxyz", NO_STRESS, "energy forces"),
    ("synth_two_energies.extxyz", ["data.energy_key=energy"], "energy forces stress"),
]

# file, what the user adds, part of the one message
REFUSED = [
    ("ethanol_test_dimers.xyz", [], r"loss\.forces_weight=0"),
    ("metatrain_ethanol_kcalmol.xyz", [], r"data\.units\.energy=kcal/mol"),
    ("metatrain_qm9_U0_noforces.xyz", [], r"U0 \(100\)"),
    ("mlip_SPICE_charges_spin_json.xyz", [], r"loss\.stress_weight=0"),
    ("synth_huge_force.extxyz", [], r"data\.max_force=100"),
    ("synth_nan_energy.extxyz", [], "an energy that is NaN"),
    ("synth_nan_force.extxyz", [], "a force that is NaN or infinite"),
    ("synth_no_lattice_pbcTTT.extxyz", [], "but have no Lattice"),
    ("synth_pbc_TTF.extxyz", [], r"loss\.stress_weight=0"),
    ("synth_truncated.extxyz", [], "cut off by the end of the file"),
    ("synth_two_energies.extxyz", [], r"data\.energy_key=REF_energy"),
]


def run(name, words, folder):
    places = [f"run_dir={folder / 'run'}", f"data.cache_dir={folder / 'cache'}"]
    return mace_train.train(
        [*SMALL_AND_SHORT, f"data.train={MESSY / name}", *words, *places]
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "words", "labels"), TRAINED, ids=[t[0] for t in TRAINED])
def test_a_messy_file_is_trained_on(name, words, labels, tmp_path):
    errors = run(name, words, tmp_path)["train"]
    keys = {"energy": "energy_per_atom_mae", "forces": "forces_mae", "stress": "stress_mae"}
    for label in labels.split():
        assert math.isfinite(errors[keys[label]])
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize(("name", "words", "message"), REFUSED, ids=[r[0] for r in REFUSED])
def test_a_messy_file_is_refused_before_anything_is_trained(name, words, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(name, words, tmp_path)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_every_messy_file_is_trained_on_or_refused():
    assert {row[0] for row in TRAINED + REFUSED} == {path.name for path in MESSY.iterdir()}
