import numpy as np
import pytest
import torch

from mace_train.checkpoints.probes import (
    Probes,
    choose_probe_frames,
    compare_with_probes,
    make_probes,
)
from mace_train.graph import AtomicGraph


def test_probes_hold_what_the_model_predicts(tiny_model, graphs):
    probes = make_probes(tiny_model, graphs)
    expected = tiny_model(AtomicGraph.batch(graphs), compute_stress=True)
    torch.testing.assert_close(probes.energy, expected.energy.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(probes.forces, expected.forces.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(probes.stress, expected.stress.detach(), rtol=0, atol=1e-12)
    assert probes.num_atoms.tolist() == [2, 3, 1]


def test_the_same_model_agrees_with_its_probes(tiny_model, graphs):
    deviations = compare_with_probes(tiny_model, make_probes(tiny_model, graphs))
    assert deviations.num_frames == 3
    assert deviations.energy_per_atom < 1e-10
    assert deviations.forces < 1e-10
    assert deviations.stress < 1e-10


def test_a_changed_model_does_not_agree_with_the_probes(tiny_model, graphs):
    probes = make_probes(tiny_model, graphs)
    with torch.no_grad():
        tiny_model.scale_shift.shift += 0.5
    deviations = compare_with_probes(tiny_model, probes)
    assert deviations.energy_per_atom == pytest.approx(0.5)
    assert deviations.forces < 1e-10
    with torch.no_grad():
        tiny_model.scale_shift.scale *= 2
    assert compare_with_probes(tiny_model, probes).forces > 1e-4


def test_a_float32_model_agrees_with_its_probes_in_float32(tiny_model, graphs):
    probes = make_probes(tiny_model.float(), graphs)
    assert probes.energy.dtype == torch.float64
    deviations = compare_with_probes(tiny_model, probes)
    assert deviations.energy_per_atom < 1e-4


def test_probes_survive_the_way_through_named_tensors(tiny_model, graphs):
    probes = make_probes(tiny_model, graphs)
    tensors = probes.to_tensors() | {"weight": torch.ones(1)}
    again, rest = Probes.from_tensors(tensors)
    assert list(rest) == ["weight"]
    for name, value in probes.to_tensors().items():
        assert torch.equal(again.to_tensors()[name], value)
    assert Probes.from_tensors(rest) == (None, rest)


def test_the_structures_are_those_that_were_given(tiny_model, graphs):
    structures = make_probes(tiny_model, graphs).structures()
    assert len(structures) == len(graphs)
    for atoms, graph in zip(structures, graphs):
        assert atoms.numbers.tolist() == graph.atomic_numbers.tolist()
        assert np.allclose(atoms.positions, graph.positions.numpy())
        assert np.allclose(atoms.cell.array, graph.cell[0].numpy())
        assert atoms.pbc.tolist() == graph.pbc[0].tolist()


def test_incomplete_probes_are_named(tiny_model, graphs):
    tensors = make_probes(tiny_model, graphs).to_tensors()
    del tensors["probe.forces"]
    with pytest.raises(ValueError, match="lack forces"):
        Probes.from_tensors(tensors)


def test_probes_are_single_structures(tiny_model, graphs):
    for wrong in ([], [AtomicGraph.batch(graphs)]):
        with pytest.raises(ValueError, match="one structure each"):
            make_probes(tiny_model, wrong)


def test_every_element_is_shown_before_a_size_is_repeated():
    frames = [np.array([14] * size) for size in range(1, 40)]
    frames[20] = np.append(frames[20], 79)
    frames[30] = np.append(frames[30], 8)
    chosen = choose_probe_frames(frames, 6)
    assert len(chosen) == 6
    assert {20, 30} <= set(chosen)
    sizes = [len(frames[i]) for i in chosen]
    assert min(sizes) == 1
    assert max(sizes) == 39
    assert chosen == sorted(set(chosen))


@pytest.mark.parametrize(("frames", "count"), [(3, 50), (50, 3), (0, 5), (5, 0), (5, 5)])
def test_never_more_frames_are_chosen_than_there_are_or_were_asked_for(frames, count):
    numbers = [np.array([i + 1]) for i in range(frames)]
    chosen = choose_probe_frames(numbers, count)
    assert len(chosen) == min(frames, count)
    assert chosen == sorted(set(chosen))
