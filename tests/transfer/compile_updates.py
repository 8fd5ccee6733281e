"""Trace a model with low-rank updates; print how far its forces are from the plain ones."""

import copy
import json
import sys

import torch
from ase.build import bulk

from mace_train.graph import AtomicGraph
from mace_train.model import compiled_energies
from mace_train.model.derivatives import differentiated
from mace_train.model.mace import MACE
from mace_train.transfer.low_rank import add_low_rank_updates

# What dynamo takes of the model is asked here, not what the compiler makes of it.
compile_ = torch.compile
torch.compile = lambda function, **options: compile_(function, backend="eager", **options)
torch.manual_seed(0)
model = MACE(**json.loads(sys.argv[1]), backend="plain").double()
add_low_rank_updates(model, rank=1, seed=0)
compiled = compiled_energies.CompiledEnergies(model.energies)
crystal = bulk("Si", cubic=True)
crystal.rattle(0.1, seed=1)
graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=model.r_max)


def forces(energies):
    return differentiated(energies, graph, ["forces"], create_graph=False).forces


before = forces(compiled)
with torch.no_grad():  # updates learn after the compilation
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn_like(parameter))
found, expected = forces(compiled), forces(model.energies)
assert compiled._compiled is not None
copy.deepcopy(model)
print(
    json.dumps(
        {
            "error": (found - expected).abs().max().item(),
            "learned": (found - before).abs().max().item(),
        }
    )
)
