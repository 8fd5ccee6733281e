"""``format=lammps``: the object that ML-IAP loads, called as ML-IAP calls it."""

import pickle
import threading

import numpy as np
import pytest
import torch
from ase import Atoms

from mace_train.exports.export import export_model
from mace_train.exports.lammps import LAMMPS, LammpsModel, restored
from mace_train.exports.lammps_atoms import LammpsAtoms
from mace_train.graph import AtomicGraph
from mace_train.neighbors import neighbor_list

VARIANTS = {
    "residual": {},
    "tensors": {"hidden_irreps": "3x0e + 3x1o + 3x2e", "max_ell": 3},
    "one layer": {"num_interactions": 1},
    "three layers": {"num_interactions": 3, "correlation": 2},
    "plain": {"first_interaction": "plain", "interaction": "plain"},
    "density, agnesi, zbl": {
        "first_interaction": "density",
        "interaction": "density_residual",
        "distance_transform": "agnesi",
        "pair_repulsion": True,
    },
}


def graph_of(atoms, model):
    return AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=model.r_max)


class WithoutKokkos:
    """ML-IAP's record without KOKKOS: no exchange, and energies that can only be set."""

    SHARED = (
        *("nlocal", "ntotal", "nlistatoms", "npairs", "iatoms", "elems"),
        *("pair_i", "pair_j", "rij"),
    )

    def __init__(self, atoms):
        self.given, self.set = atoms, {}

    def __getattr__(self, name):
        if name in self.SHARED or name == "update_pair_forces":
            return getattr(self.given, name)
        raise AttributeError(name)

    def _set_eatoms(self, value):
        self.set["eatoms"] = np.array(value)

    def _set_energy(self, value):
        self.set["energy"] = value

    eatoms = property(None, _set_eatoms)
    energy = property(None, _set_energy)


class Board:
    """Where two processes lay down rows for each other."""

    def __init__(self, count):
        self.barrier = threading.Barrier(count, timeout=60)
        self.rows = {}


class OneOfTwo(LammpsAtoms):
    """The atoms of one of several processes, which run as threads."""

    def __init__(self, board, mine, atoms, model):
        """Own the atoms ``mine``; all other neighbors and all images are ghosts."""
        self.board, self.mine = board, mine
        found = neighbor_list(
            atoms.positions, atoms.cell.array, atoms.pbc, r_max=model.r_max
        )
        (sender, receiver), shifts = found.edge_index, found.unit_shifts
        place = {int(atom): row for row, atom in enumerate(mine)}
        ghosts, pairs = {}, []
        for s, r, shift in zip(sender.tolist(), receiver.tolist(), shifts.tolist()):
            if r not in place:
                continue
            is_mine = s in place and not any(shift)
            key = (s, *shift)
            j = place[s] if is_mine else len(mine) + ghosts.setdefault(key, len(ghosts))
            vector = atoms.positions[s] - atoms.positions[r] - shift @ atoms.cell.array
            pairs.append((place[r], j, vector))
        self.atom = np.array([*mine, *(key[0] for key in ghosts)])
        total = len(self.atom)
        super().__init__(
            elems=model.elements.index_of(atoms.numbers[self.atom]),
            owner=np.where(np.arange(total) < len(mine), np.arange(total), 0),
            pair_i=np.array([pair[0] for pair in pairs], int),
            pair_j=np.array([pair[1] for pair in pairs], int),
            rij=np.array([pair[2] for pair in pairs]).reshape(-1, 3),
        )

    def _share(self, rows):
        """All rows of all processes, by the atom that they belong to."""
        self.board.rows[id(self)] = (self.atom, self.nlocal, rows.clone())
        self.board.barrier.wait()
        everything = list(self.board.rows.values())
        self.board.barrier.wait()
        return everything

    def forward_exchange(self, copy_from, copy_to, vec_len):
        by_atom = {}
        for atom, num_owned, rows in self._share(copy_from):
            by_atom |= {int(a): row for a, row in zip(atom[:num_owned], rows)}
        copy_to.copy_(torch.stack([by_atom[int(atom)] for atom in self.atom]))

    def reverse_exchange(self, copy_from, copy_to, vec_len):
        copy_to.zero_()
        everything = self._share(copy_from)
        for row, atom in enumerate(self.mine):
            for others, _, rows in everything:
                copy_to[row] += rows[torch.from_numpy(others == atom)].sum(0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_model_is_written_and_compared(variant, small_mace, tmp_path):
    model = small_mace(**VARIANTS[variant])
    path = tmp_path / "model.pkl"
    comparison = export_model(model, path, LAMMPS, metadata={"level_of_theory": "PBE"})
    assert comparison.largest["forces"] > 0.01
    assert None not in comparison.deviation.values()
    unified = pickle.loads(path.read_bytes())
    assert unified.metadata["provenance"] == {"level_of_theory": "PBE"}
    assert unified.element_types == ["H", "O", "Si"]
    # ML-IAP takes the sum of two radii, each 1, times this as the cutoff.
    assert 2 * unified.rcutfac == model.r_max
    assert (unified.ndescriptors, unified.nparams) == (1, 1)
    assert unified.model.backend == "auto"
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("backend", ["plain", "chunked"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_domains_of_two_processes_add_up_to_the_whole(
    variant, backend, small_mace, crystal
):
    model = small_mace(**VARIANTS[variant])
    model.backend = backend
    atoms = crystal * (2, 1, 1)
    expected = model(graph_of(atoms, model), compute_virials=True)
    board, order = Board(2), np.random.default_rng(1).permutation(len(atoms))
    parts = [OneOfTwo(board, mine, atoms, model) for mine in (order[:3], order[3:])]
    states = [LammpsModel(model, {}) for _ in parts]
    run_together([(s.compute_forces, (p,)) for s, p in zip(states, parts)])
    energy = sum(part.energy for part in parts)
    assert energy == pytest.approx(expected.energy.item(), abs=1e-10)
    forces = np.zeros((len(atoms), 3))
    for part in parts:
        np.add.at(forces, part.atom, part.f)
        mine = expected.node_energies.detach().numpy()[part.mine]
        np.testing.assert_allclose(part.eatoms, mine, atol=1e-10)
    np.testing.assert_allclose(forces, expected.forces.detach().numpy(), atol=1e-10)
    virial = sum(part.virial for part in parts)
    virial = (virial + virial.T) / 2
    np.testing.assert_allclose(virial, expected.virials[0].detach().numpy(), atol=1e-10)


def run_together(calls):
    failures = []

    def guarded(function, arguments):
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_one_layer_needs_no_exchange(small_mace, crystal):
    model = small_mace(num_interactions=1)
    given = LammpsAtoms.of_graph(graph_of(crystal, model))
    plain = WithoutKokkos(given)
    LammpsModel(model, {}).compute_forces(plain)
    expected = model(graph_of(crystal, model))
    assert plain.set["energy"] == pytest.approx(expected.energy.item(), abs=1e-10)
    energies = expected.node_energies.detach().numpy()
    np.testing.assert_allclose(plain.set["eatoms"], energies, atol=1e-10)
    forces = expected.forces.detach().numpy()
    np.testing.assert_allclose(given.owned_forces(), forces, atol=1e-10)


def test_more_layers_without_exchange_are_refused_if_there_are_ghosts(
    small_mace, crystal, water
):
    model = small_mace()
    periodic = WithoutKokkos(LammpsAtoms.of_graph(graph_of(crystal, model)))
    with pytest.raises(RuntimeError, match=r"2 layers.*KOKKOS.*lammps_fix"):
        LammpsModel(model, {}).compute_forces(periodic)
    alone = WithoutKokkos(LammpsAtoms.of_graph(graph_of(water, model)))
    LammpsModel(model, {}).compute_forces(alone)
    expected = model(graph_of(water, model))
    assert alone.set["energy"] == pytest.approx(expected.energy.item(), abs=1e-10)


def test_pairs_of_ghosts_are_left_to_their_owners(small_mace, crystal):
    """With "unified FILE 1" LAMMPS lists them too."""
    model = small_mace()
    atoms, more = (LammpsAtoms.of_graph(graph_of(crystal, model)) for _ in range(2))
    ghost = more.nlocal
    more.pair_i = np.concatenate([[ghost], more.pair_i]).astype(np.int32)
    more.pair_j = np.concatenate([[0], more.pair_j]).astype(np.int32)
    more.rij = np.concatenate([[[0.1, 0.2, 1.0]], more.rij])
    for given in (atoms, more):
        LammpsModel(model, {}).compute_forces(given)
    assert more.energy == pytest.approx(atoms.energy, abs=1e-12)
    np.testing.assert_allclose(more.f, atoms.f, atol=1e-12)


def test_an_atom_that_another_pair_style_has_gets_no_energy(small_mace, water):
    """``pair_coeff * * O H NULL``: element -1, not in the list, and in no pair."""
    model = small_mace()
    given = LammpsAtoms.of_graph(graph_of(water, model))
    far = LammpsAtoms.of_graph(graph_of(water + Atoms("H", [[9, 9, 9]]), model))
    far.elems[3] = -1
    far.nlistatoms, far.iatoms = 3, far.iatoms[:3]
    for atoms in (given, far):
        LammpsModel(model, {}).compute_forces(atoms)
    assert far.energy == pytest.approx(given.energy, abs=1e-12)


def test_a_process_without_atoms_has_no_energy(small_mace):
    model = small_mace()
    none = np.zeros(0, int)
    empty = LammpsAtoms(
        elems=none, owner=none, pair_i=none, pair_j=none, rij=np.zeros((0, 3))
    )
    LammpsModel(model, {}).compute_forces(empty)
    assert empty.energy == 0


def test_a_name_that_lammps_reads_in_another_way_is_refused(small_mace, tmp_path):
    with pytest.raises(ValueError, match=r"\.pt to torch\.load.*end in \.pkl"):
        LAMMPS.write(tmp_path / "model.pt", small_mace(), {})


def test_a_pickle_of_another_format_is_refused():
    with pytest.raises(ValueError, match=r"format 99.*reads format 1: export"):
        restored(99, {}, {}, {})
