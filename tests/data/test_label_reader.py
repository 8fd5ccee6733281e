"""Foreign names, forms and units of labels become ours, or are refused."""

import numpy as np
import pytest

from mace_train.data.label_reader import LabelReader
from mace_train.data.labels import KeyCounts, LabelKeys
from mace_train.data.plain_frame import RawFrame
from mace_train.data.problems import FrameError

FORCES = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
STRESS = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])
VOIGT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def raw_frame(values=None, columns=None):
    values, columns = values or {}, columns or {}
    return RawFrame(
        index=0,
        line_number=1,
        atomic_numbers=np.array([3, 9]),
        positions=np.zeros((2, 3)),
        cell=np.eye(3) * 4,
        pbc=np.ones(3, bool),
        values=values,
        columns=columns,
        names=(*values, *columns),
    )


def read(values=None, columns=None, *, volume=64.0, counts=None, **keys):
    reader = LabelReader(LabelKeys(**keys), counts or KeyCounts())
    return reader.read(raw_frame(values, columns), volume=volume)


@pytest.mark.parametrize(
    "key",
    ["energy", "REF_energy", "dft_energy", "Energy", "TotEnergy", "free_energy"],
)
def test_known_energies_are_found(key):
    labels = read({key: -3.5})

    assert (labels.energy, labels.energy_weight) == (-3.5, 1.0)


@pytest.mark.parametrize("key", ["forces", "force", "REF_forces", "dft_force", "Forces"])
def test_known_forces_are_found(key):
    np.testing.assert_array_equal(read({}, {key: FORCES}).forces, FORCES)


@pytest.mark.parametrize(
    "key", ["corrected_total_energy", "energy_per_atom", "U0", "total_energy"]
)
def test_other_energies_are_never_taken_by_themselves(key):
    assert read({key: -3.5}).energy is None
    assert read({key: -3.5}, energy=key).energy == -3.5


def test_the_free_energy_stands_back_behind_the_energy():
    counts = KeyCounts()

    assert read({"free_energy": -4.0, "energy": -3.5}, counts=counts).energy == -3.5
    assert counts.used["energy"] == {"energy": 1}


def test_a_named_key_is_the_only_one():
    assert read({"energy": -3.5, "free_energy": -3.5}, energy="REF_energy").energy is None


def test_a_label_can_be_left_out():
    values, columns = (
        {"energy": -3.5, "free_energy": -3.5, "stress": VOIGT},
        {"forces": FORCES},
    )

    labels = read(values, columns, energy="none", forces="none", stress="none")

    assert labels.energy is labels.forces is labels.stress is None
    assert labels.energy_weight == labels.forces_weight == labels.stress_weight == 0


def test_two_names_for_one_value_are_no_conflict():
    assert read({"energy": -3.5, "REF_energy": -3.5 + 1e-9}).energy == -3.5


@pytest.mark.parametrize(
    ("values", "columns", "message"),
    [
        (
            {"energy": -3.5, "REF_energy": -4.5},
            {},
            "energy=-3.5, REF_energy=-4.5.*Choose one: data.energy_key=energy or "
            "data.energy_key=REF_energy",
        ),
        (
            {},
            {"forces": FORCES, "dft_forces": 2 * FORCES},
            r"forces of atom 0=\[0.1, 0.2, 0.3\], dft_forces of atom 0=\[0.2, 0.4, 0.6\].*"
            "data.forces_key=forces or data.forces_key=dft_forces, as in: mace-train ... "
            "data.forces_key=dft_forces",
        ),
        ({"stress": VOIGT, "REF_stress": -VOIGT}, {}, "data.stress_key=stress or"),
    ],
)
def test_two_different_labels_ask_for_a_choice(values, columns, message):
    with pytest.raises(FrameError, match=message):
        read(values, columns)


@pytest.mark.parametrize("form", [VOIGT, STRESS, STRESS.ravel(), STRESS.T.ravel()])
def test_every_form_of_a_stress_gives_one_tensor(form):
    np.testing.assert_array_equal(read({"dft_stress": form}).stress, STRESS)


def test_virials_divided_by_the_volume_are_minus_the_stress():
    labels = read({"W": STRESS, "stress": VOIGT}, virials="W")

    np.testing.assert_allclose(labels.stress, -STRESS / 64)


def test_units_enter_energy_forces_and_stress_each_in_its_power():
    keys = {"energy_unit": "hartree", "length_unit": "bohr"}

    labels = read({"energy": 1.0, "stress": VOIGT}, {"forces": FORCES}, **keys)

    assert labels.energy == pytest.approx(27.211386, rel=1e-7)
    np.testing.assert_allclose(labels.forces, FORCES * 51.422067, rtol=1e-7)
    # 1 hartree/bohr^3 is 29421.02 GPa
    np.testing.assert_allclose(labels.stress, STRESS * 29421.02 / 160.21766, rtol=1e-6)


def test_virials_have_the_unit_of_energy_and_the_volume_is_in_cubic_angstrom():
    labels = read({"W": VOIGT}, virials="W", energy_unit="meV", length_unit="nm")

    np.testing.assert_allclose(labels.stress, -STRESS * 1e-3 / 64)


def test_without_full_periodicity_a_stress_is_passed_over_and_counted():
    counts = KeyCounts()

    labels = read({"stress": VOIGT}, volume=0.0, counts=counts)

    assert (labels.stress, labels.stress_weight, counts.passed_over) == (None, 0.0, 1)


def test_a_frame_has_a_weight_and_each_label_its_own():
    weights = {"config_weight": 0.5, "config_energy_weight": 4, "config_forces_weight": 0}

    labels = read({"energy": -1.0, **weights}, {"forces": FORCES})

    assert labels.frame_weight == 0.5
    assert labels.energy_weight == 4
    assert labels.forces_weight == 0
    assert labels.stress_weight == 0


def test_a_stress_made_from_virials_has_the_weight_of_the_virials():
    values = {"W": VOIGT, "stress": VOIGT, "config_virials_weight": 0.25}

    assert read(values, virials="W").stress_weight == 0.25
    assert read(values).stress_weight == 1.0


def test_a_frame_of_weight_zero_is_a_frame_without_labels():
    labels = read({"energy": -1.0, "config_weight": 0}, {"forces": FORCES})

    assert (labels.energy_weight, labels.forces_weight) == (0, 0)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "heavy", True])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(FrameError, match="config_weight that is not a number from 0 on"):
        read({"energy": -1.0, "config_weight": weight})


@pytest.mark.parametrize("energy", ["None", True, np.array([1.0, 2.0]), [1.0]])
def test_an_energy_that_is_no_number_is_refused(energy):
    with pytest.raises(FrameError, match="label for the energy that is not a number"):
        read({"energy": energy})


@pytest.mark.parametrize("forces", [FORCES[:, :2], FORCES.ravel(), FORCES.astype(str)])
def test_forces_of_a_wrong_shape_are_refused(forces):
    with pytest.raises(FrameError, match="forces that is not 3 numbers an atom"):
        read({}, {"forces": forces})


@pytest.mark.parametrize("stress", [VOIGT[:5], "abc", 1.0, [[1.0], [1.0, 2.0]]])
def test_a_stress_of_a_wrong_shape_is_refused(stress):
    with pytest.raises(FrameError, match="stress that is not 6 or 9 numbers"):
        read({"stress": stress})


def test_a_stress_that_turns_the_crystal_is_refused():
    with pytest.raises(FrameError, match="REF_stress that is not symmetric"):
        read({"REF_stress": np.arange(9.0)})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_labels_that_are_not_finite_are_refused(bad):
    forces, stress = FORCES.copy(), VOIGT.copy()
    forces[1, 2] = stress[3] = bad

    with pytest.raises(FrameError, match=f"energy that is NaN or inf.*energy is {bad}"):
        read({"energy": bad})
    with pytest.raises(FrameError, match=f"forces of atom 1 .from 0. is {bad}"):
        read({}, {"forces": forces})
    with pytest.raises(FrameError, match=f"stress that is NaN or inf.*stress is {bad}"):
        read({"stress": stress})
