"""Compile a model's energies and print how far they are from the plain ones, as JSON."""

import json
import sys

import torch
from ase.build import bulk

from mace_train.graph import AtomicGraph
from mace_train.model.compiled_energies import CompiledEnergies
from mace_train.model.derivatives import differentiated
from mace_train.model.mace import MACE

torch.manual_seed(0)
model = MACE(**json.loads(sys.argv[1]), backend="plain").double()
compiled = CompiledEnergies(model.energies)
differences = {"energy": 0.0, "forces": 0.0, "stress": 0.0}
for size in (1, 2, 3):  # one compilation serves all sizes
    crystal = bulk("Si", cubic=True).repeat((1, 1, size))
    crystal.rattle(0.1, seed=size)
    graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=model.r_max)
    found, expected = (
        differentiated(energies, graph, ["forces", "stress"], create_graph=False)
        for energies in (compiled, model.energies)
    )
    for name in differences:
        one, other = getattr(found, name), getattr(expected, name)
        relative = ((one - other).norm() / other.norm()).item()
        differences[name] = max(differences[name], relative)
assert compiled._compiled is not None
print(json.dumps(differences))
