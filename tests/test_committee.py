"""`Committee`: means and spreads of models, their descriptors and second derivatives."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.vibrations import VibrationsData

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.model_file import save_model
from mace_train.committee import Committee
from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE

STEP = 1e-4  # Å
ROUNDING = 1e-10  # eV/Å^2, of sums over some hundred edges in float64


@pytest.fixture
def some_mace(small_mace):
    """Build small models with weights of their own."""

    def build(seed: int = 0, **changes) -> MACE:
        model = small_mace(**changes)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.readouts.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return model

    return build


def answers(model, atoms: Atoms, **options) -> dict:
    atoms = atoms.copy()
    atoms.calc = MACECalculator(model, **options)
    atoms.get_stress()
    return atoms.calc.results


def test_results_are_means_and_deviations_of_the_population(some_mace, crystal):
    models = [some_mace(0), some_mace(1), some_mace(2, r_max=3.1, num_interactions=1)]
    alone = [answers(model, crystal) for model in models]
    together = answers(models, crystal)
    for name in ("energy", "free_energy", "energies", "forces", "stress"):
        values = np.stack([results[name] for results in alone])
        np.testing.assert_allclose(together[name], values.mean(0), rtol=1e-12, atol=1e-14)
    for name in ("energy", "forces", "stress"):
        values = np.stack([results[name] for results in alone])
        spread = np.sqrt(((values - values.mean(0)) ** 2).mean(0))
        assert spread.max() > 1e-4
        np.testing.assert_allclose(together[f"{name}_std"], spread, rtol=1e-12, atol=1e-14)
    assert isinstance(together["energy"], float)
    assert isinstance(together["energy_std"], float)


def test_deviations_are_properties_that_ase_can_ask_for(some_mace, crystal):
    calculator = MACECalculator([some_mace(0), some_mace(1)])
    assert calculator.get_property("energy_std", crystal) > 0
    assert "forces" not in calculator.results
    assert calculator.get_property("forces_std", crystal).shape == (5, 3)
    assert calculator.get_property("stress_std", crystal).shape == (6,)
    assert "energy_std" not in MACECalculator(some_mace(0)).implemented_properties


def test_a_committee_of_one_is_that_model(some_mace, crystal):
    alone, listed = answers(some_mace(3), crystal), answers([some_mace(3)], crystal)
    assert alone.keys() == listed.keys()
    np.testing.assert_array_equal(alone["forces"], listed["forces"])


def test_a_structure_with_the_results_of_a_committee_can_be_written(
    some_mace, crystal, tmp_path
):
    crystal.calc = MACECalculator([some_mace(0), some_mace(1)])
    forces = crystal.get_forces()
    for name in ("a.extxyz", "a.traj", "a.json"):
        write(tmp_path / name, crystal)
        found = read(tmp_path / name).get_forces()
        np.testing.assert_allclose(found, forces, rtol=0, atol=1e-7)
    assert "energy_std" in crystal.calc.results


def test_files_models_and_patterns_make_a_committee(some_mace, crystal, tmp_path):
    models = [some_mace(seed) for seed in range(3)]
    for place, model in enumerate(models):
        (tmp_path / f"run{place}").mkdir()
        save_model(tmp_path / f"run{place}" / "model.safetensors", model, metadata={})
    expected = answers(models, crystal)
    pattern = str(tmp_path / "*" / "model.safetensors")
    mixed = [models[0], tmp_path / "run1" / "model.safetensors", str(tmp_path / "run2/*")]
    for given in (pattern, mixed, [pattern]):
        found = answers(given, crystal)
        assert found["energy_std"] == pytest.approx(expected["energy_std"], abs=1e-12)
    assert len(MACECalculator(pattern.replace("*", "run[12]", 1)).models) == 2
    assert "energy_std" not in answers(pattern.replace("*", "run[1]", 1), crystal)
    with pytest.raises(FileNotFoundError, match=r"no file matches model='.*run\[7\]"):
        MACECalculator(pattern.replace("*", "run[7]", 1))
    with pytest.raises(ValueError, match=r"model=\[\] is an empty committee"):
        MACECalculator([])


def test_members_keep_their_cutoffs_and_share_elements(some_mace):
    first = some_mace(0, r_max=3.5)
    second = some_mace(1, atomic_numbers=[1, 6, 8], num_interactions=3)
    calculator = MACECalculator([first, second])
    assert calculator.elements.symbols == ("H", "O")
    assert calculator.r_max == 4.0
    assert calculator.receptive_field == 12.0
    water = Atoms("OH2", [[0, 0, 0], [0.9, 0.1, 0], [-0.2, 0.9, 0]], calculator=calculator)
    assert water.get_potential_energy() == pytest.approx(
        np.mean([MACECalculator(m).get_potential_energy(water) for m in (first, second)])
    )
    water.numbers[1] = 14
    message = (
        "element Si is not known to all models, which share 2 elements: H O. .* number 1"
    )
    with pytest.raises(ValueError, match=message):
        water.get_potential_energy()
    with pytest.raises(AttributeError, match=r"committee of 2 models: use \.models"):
        _ = calculator.model
    third = some_mace(2, atomic_numbers=[6, 7, 14])
    message = (
        "no element in common: the model knows H O Si; the model knows C N Si; .* H C O"
    )
    with pytest.raises(ValueError, match=message):
        MACECalculator([first, third, second])


def test_each_member_is_asked_for_the_head_of_that_name(some_mace, crystal):
    two = {
        "atomic_energies": [[-3.1, -7.2, -5.4], [-1.0, -2.0, -3.0]],
        "scale": [0.8, 0.7],
        "shift": [0.1, 0.2],
    }
    first = some_mace(0, heads=["pbe", "r2scan"], **two)
    second = some_mace(1, heads=["r2scan", "hse"], **two)
    energy = answers([first, second], crystal, head="r2scan")["energy"]
    alone = [answers(m, crystal, head="r2scan")["energy"] for m in (first, second)]
    assert energy == pytest.approx(np.mean(alone), abs=1e-9)
    with pytest.raises(ValueError, match=r"has no head 'pbe': give head= one of \['r2scan"):
        MACECalculator([first, second], head="pbe")
    with pytest.raises(ValueError, match=r"several heads: give head= one of \['pbe'"):
        MACECalculator([some_mace(2), first])


def test_members_alike_share_their_neighbors(some_mace, crystal):
    alike = MACECalculator([some_mace(0), some_mace(1)])
    apart = MACECalculator([some_mace(0), some_mace(1, r_max=3.0)])
    for calculator, searches in ((alike, 1), (apart, 2)):
        for _ in range(3):
            crystal.positions += 0.01
            calculator.get_potential_energy(crystal)
        assert calculator.num_searches == searches


def test_descriptors_are_the_node_features_of_the_layers(some_mace, crystal):
    model = some_mace(0, num_interactions=3)
    calculator = MACECalculator(model)
    graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=model.r_max)
    features = model(graph, compute_forces=False).node_features.detach().numpy()
    everything = calculator.get_descriptors(crystal, invariants_only=False)
    np.testing.assert_allclose(everything, features, rtol=0, atol=1e-12)
    assert features.shape == (5, 16 + 16 + 4)
    scalars = [*range(4), *range(16, 20), *range(32, 36)]
    for num_layers in (None, 1, 2, 3):
        kept = scalars[: 4 * (num_layers or 3)]
        found = calculator.get_descriptors(crystal, num_layers=num_layers)
        np.testing.assert_array_equal(found, everything[:, kept])
    first = calculator.get_descriptors(crystal, invariants_only=False, num_layers=1)
    np.testing.assert_array_equal(first, everything[:, :16])
    for number in (0, 4, -1):
        with pytest.raises(ValueError, match=f"num_layers={number} must be 1 to 3"):
            calculator.get_descriptors(crystal, num_layers=number)


def test_invariant_descriptors_do_not_turn_and_vectors_do(some_mace, crystal):
    calculator = MACECalculator(some_mace(0))
    before = calculator.get_descriptors(crystal)
    vectors = calculator.get_descriptors(crystal, invariants_only=False)[:, 4:16]
    frame = np.eye(3)
    turned = crystal.copy()
    turned.rotate(50, (1, 2, -1), rotate_cell=True)
    matrix = np.linalg.lstsq(crystal.cell.array, turned.cell.array, rcond=None)[0] @ frame
    np.testing.assert_allclose(calculator.get_descriptors(turned), before, atol=1e-10)
    after = calculator.get_descriptors(turned, invariants_only=False)[:, 4:16]
    expected = vectors.reshape(5, 4, 3) @ matrix
    assert np.abs(after - vectors).max() > 1e-3
    np.testing.assert_allclose(after.reshape(5, 4, 3), expected, atol=1e-10)


def test_descriptors_of_a_committee_are_a_list(some_mace, crystal):
    models = [some_mace(0), some_mace(1, hidden_irreps="6x0e")]
    calculator = MACECalculator(models)
    with pytest.raises(ValueError, match="no structure was computed yet: give atoms"):
        calculator.get_descriptors()
    calculator.get_potential_energy(crystal)
    found = calculator.get_descriptors()
    assert [one.shape for one in found] == [(5, 8), (5, 12)]
    np.testing.assert_array_equal(
        found[1], MACECalculator(models[1]).get_descriptors(crystal)
    )


def numerical_hessian(atoms: Atoms) -> np.ndarray:
    rows = []
    for atom, axis in np.ndindex(len(atoms), 3):
        forces = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * STEP
            moved.calc = atoms.calc
            forces.append(moved.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * STEP))
    return np.array(rows)


@pytest.mark.parametrize("backend", ["plain", "chunked"])
@pytest.mark.parametrize("name", ["water", "crystal"])
def test_the_hessian_is_the_derivative_of_the_forces(name, backend, some_mace, request):
    atoms = request.getfixturevalue(name)
    atoms.calc = MACECalculator([some_mace(0), some_mace(1)], backend=backend)
    hessian = atoms.calc.get_hessian(atoms)
    assert np.abs(hessian).max() > 0.1
    np.testing.assert_allclose(hessian, numerical_hessian(atoms), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(hessian, hessian.T)
    rows = hessian.reshape(3 * len(atoms), len(atoms), 3)
    np.testing.assert_allclose(rows.sum(1), 0, atol=ROUNDING)


def test_a_hessian_can_be_had_of_any_number_of_atoms_and_in_single_precision(
    some_mace, water
):
    calculator = MACECalculator(some_mace(0))
    assert calculator.get_hessian(Atoms()).shape == (0, 0)
    np.testing.assert_array_equal(calculator.get_hessian(Atoms("O")), np.zeros((3, 3)))
    single = MACECalculator(some_mace(0), dtype="float32").get_hessian(water)
    np.testing.assert_allclose(single, calculator.get_hessian(water), atol=1e-3)


def test_vibrations_of_molecules_and_cells_come_from_the_hessian(some_mace, water):
    calculator = MACECalculator(some_mace(0))
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.02, seed=1)
    for atoms in (water, silicon):
        data = VibrationsData.from_2d(atoms, calculator.get_hessian(atoms))
        energies = data.get_energies()
        assert energies.shape == (3 * len(atoms),)
        # Translations cost nothing: three modes of zero energy, whatever the others are.
        assert np.sort(np.abs(energies))[:3].max() < 1e-5


def test_a_third_derivative_of_the_fast_backend_is_refused(some_mace, water):
    for backend, ok in (("plain", True), ("chunked", False)):
        model = some_mace(0, backend=backend)
        graph = AtomicGraph.from_atoms(water, elements=model.elements, r_max=model.r_max)
        hessian = model(graph, compute_hessian=True, create_graph=True).hessian
        if ok:
            hessian.sum().backward()
            continue
        with pytest.raises(RuntimeError, match="chunked backend has no third derivatives"):
            hessian.sum().backward()


def test_weights_that_are_not_finite_are_told_from_atoms_too_close(some_mace, crystal):
    model = some_mace(0)
    with torch.no_grad():
        next(model.readouts.parameters()).fill_(torch.nan)
    committee = Committee([model], ["the model"], head=None, skin=0.5)
    message = (
        r"not finite \(energy, energies, forces\)\. Its nearest .* look at the model's"
    )
    with pytest.raises(ValueError, match=message):
        committee.predict(crystal, forces=True, stress=False)
    with pytest.raises(
        ValueError, match=r"finite \(energy, energies\): look at the model's"
    ):
        committee.predict(Atoms("O"), forces=False, stress=False)
