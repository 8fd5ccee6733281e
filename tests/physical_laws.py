"""The laws that any interatomic potential obeys, each as a function of a model.

A model is anything with ``elements`` and ``r_max`` that predicts energy, forces and stress
of an `AtomicGraph` in float64. ``check_laws(model)`` asks for all of them.
"""

import numpy as np
import torch
from ase import Atoms

from mace_train.graph import AtomicGraph

# In float64 the laws hold to rounding, of sums over some hundred edges of order 1 eV.
EXACT = 1e-9
# Central differences with a step of 1e-4 Å err by its square times a third derivative.
STEP = 1e-4
BY_DIFFERENCES = 2e-6


def graph_of(model, atoms: Atoms) -> AtomicGraph:
    return AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=model.r_max)


def predict(model, atoms: Atoms, **asked):
    return model(graph_of(model, atoms), compute_stress=True, **asked)


def energy(model, atoms: Atoms) -> float:
    with torch.no_grad():
        return float(model(graph_of(model, atoms), compute_forces=False).energy)


def some_crystal(model, *, seed: int = 3) -> Atoms:
    """Six atoms of the model's elements in a skewed cell, none closer than 1 Å."""
    rng = np.random.default_rng(seed)
    cell = np.array([[4.4, 0.3, 0.0], [0.2, 4.1, -0.5], [-0.4, 0.1, 4.8]])
    while True:
        numbers = rng.choice(model.elements.atomic_numbers, 6)
        places = rng.uniform(0, 1, (6, 3))
        atoms = Atoms(numbers, scaled_positions=places, cell=cell, pbc=True)
        distances = atoms.get_all_distances(mic=True)[~np.eye(6, dtype=bool)]
        if distances.min() > 1.0:
            return atoms


def orthogonal_matrix(*, determinant: int) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix)) * determinant


def check_orthogonal_transformation(model, *, determinant: int) -> None:
    """Rotation (determinant 1) or reflection (-1): forces and stress turn along."""
    atoms = some_crystal(model)
    turn = orthogonal_matrix(determinant=determinant)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    before, after = predict(model, atoms), predict(model, turned)
    turn = torch.from_numpy(turn)
    torch.testing.assert_close(after.energy, before.energy, atol=EXACT, rtol=0)
    torch.testing.assert_close(after.forces, before.forces @ turn.T, atol=EXACT, rtol=0)
    expected = turn @ before.stress @ turn.T
    torch.testing.assert_close(after.stress, expected, atol=EXACT, rtol=0)


def check_rotation(model) -> None:
    check_orthogonal_transformation(model, determinant=1)


def check_reflection(model) -> None:
    check_orthogonal_transformation(model, determinant=-1)


def check_translation(model) -> None:
    """Shifted atoms, also across the borders of the cell, are the same crystal."""
    atoms = some_crystal(model)
    moved = atoms.copy()
    moved.positions += [0.7, -1.9, 2.3]
    moved.wrap()
    before, after = predict(model, atoms), predict(model, moved)
    torch.testing.assert_close(after.energy, before.energy, atol=EXACT, rtol=0)
    torch.testing.assert_close(after.forces, before.forces, atol=EXACT, rtol=0)
    torch.testing.assert_close(after.stress, before.stress, atol=EXACT, rtol=0)


def check_permutation(model) -> None:
    """Atoms in another order give the same energy, and forces in that order."""
    atoms = some_crystal(model)
    order = np.random.default_rng(2).permutation(len(atoms))
    before, after = predict(model, atoms), predict(model, atoms[order])
    torch.testing.assert_close(after.energy, before.energy, atol=EXACT, rtol=0)
    torch.testing.assert_close(after.forces, before.forces[order], atol=EXACT, rtol=0)
    expected = before.node_energies[order]
    torch.testing.assert_close(after.node_energies, expected, atol=EXACT, rtol=0)


def check_size_consistency(model) -> None:
    """A supercell has the energy of its cells, and the same forces and stress."""
    atoms = some_crystal(model)
    before, after = predict(model, atoms), predict(model, atoms.repeat((2, 1, 1)))
    torch.testing.assert_close(after.energy, 2 * before.energy, atol=EXACT, rtol=0)
    torch.testing.assert_close(after.forces, before.forces.repeat(2, 1), atol=EXACT, rtol=0)
    torch.testing.assert_close(after.stress, before.stress, atol=EXACT, rtol=0)


def check_batch(model) -> None:
    """Structures do not feel each other in a batch."""
    frames = [some_crystal(model, seed=1), some_crystal(model, seed=2)[:3]]
    together = model(
        AtomicGraph.batch([graph_of(model, atoms) for atoms in frames]), compute_stress=True
    )
    alone = [predict(model, atoms) for atoms in frames]
    for name in ("energy", "node_energies", "forces", "stress", "node_features"):
        expected = torch.cat([getattr(prediction, name) for prediction in alone])
        torch.testing.assert_close(getattr(together, name), expected, atol=EXACT, rtol=0)


def check_smooth_cutoff(model) -> None:
    """An atom leaves the cutoff without a jump in energy or force, and then is not felt."""
    number = model.elements.atomic_numbers[-1]

    def dimer(distance: float) -> Atoms:
        return Atoms([number, number], [[0, 0, 0], [distance, 0, 0]])

    apart = 2 * energy(model, Atoms([number]))
    assert abs(energy(model, dimer(model.r_max)) - apart) < EXACT
    assert abs(energy(model, dimer(model.r_max + 1e-3)) - apart) < EXACT
    # The envelope leaves zero with the third power of the distance from the cutoff.
    near, nearer = (
        float(predict(model, dimer(model.r_max - delta)).forces.abs().max())
        for delta in (2e-2, 1e-2)
    )
    assert 0 < nearer < near / 3 < 0.1


def check_forces(model) -> None:
    """Forces are minus the derivative of the energy by positions."""
    atoms = some_crystal(model)
    forces = predict(model, atoms).forces.numpy()
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        values = []
        for step in (STEP, -STEP):
            moved = atoms.copy()
            moved.positions[atom, axis] += step
            values.append(energy(model, moved))
        expected = -(values[0] - values[1]) / (2 * STEP)
        assert abs(forces[atom, axis] - expected) < BY_DIFFERENCES * max(1, abs(expected))


def check_stress(model) -> None:
    """Stress is the derivative of the energy by a symmetric strain, over the volume."""
    atoms = some_crystal(model)
    prediction = predict(model, atoms, compute_virials=True)
    volume = atoms.get_volume()
    torch.testing.assert_close(prediction.virials, -prediction.stress * volume)
    for row, column in ((0, 0), (1, 2), (2, 0)):
        values = []
        for step in (STEP, -STEP):
            strain = np.zeros((3, 3))
            strain[row, column] += step / 2
            strain[column, row] += step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            values.append(energy(model, strained))
        expected = (values[0] - values[1]) / (2 * STEP) / volume
        assert abs(float(prediction.stress[0, row, column]) - expected) < BY_DIFFERENCES


def check_hessian(model) -> None:
    """The Hessian is minus the derivative of the forces by positions."""
    atoms = some_crystal(model)[:4]
    hessian = predict(model, atoms, compute_hessian=True).hessian.numpy()
    np.testing.assert_allclose(hessian, hessian.transpose(2, 3, 0, 1), atol=EXACT)
    values = []
    for step in (STEP, -STEP):
        moved = atoms.copy()
        moved.positions[1, 2] += step
        values.append(predict(model, moved).forces.numpy())
    expected = -(values[0] - values[1]) / (2 * STEP)
    tolerance = BY_DIFFERENCES * max(1, np.abs(expected).max())
    np.testing.assert_allclose(hessian[:, :, 1, 2], expected, atol=tolerance)


def check_isolated_atoms(model) -> None:
    """Atoms beyond each other's reach have no forces, and energies that add up."""
    numbers = model.elements.atomic_numbers
    far = np.arange(len(numbers))[:, None] * [10 * model.r_max, 0, 0]
    prediction = predict(model, Atoms(numbers, far))
    alone = [energy(model, Atoms([number])) for number in numbers]
    np.testing.assert_allclose(prediction.node_energies.numpy(), alone, atol=EXACT)
    assert prediction.forces.abs().max() == 0
    assert prediction.stress.abs().max() == 0


LAWS = (
    check_rotation,
    check_reflection,
    check_translation,
    check_permutation,
    check_size_consistency,
    check_batch,
    check_smooth_cutoff,
    check_forces,
    check_stress,
    check_hessian,
    check_isolated_atoms,
)


def check_laws(model) -> None:
    """Hold a model to all laws."""
    for law in LAWS:
        law(model)
