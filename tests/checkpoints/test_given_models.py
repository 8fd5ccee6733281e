import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from tiny_models import SMALL

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.given_models import given_models
from mace_train.model.mace import MACE

ARGUMENTS = SMALL | {
    "hidden_irreps": "4x0e",
    "max_ell": 1,
    "num_interactions": 1,
    "atomic_numbers": [1, 8],
    "atomic_energies": [-1.0, -2.0],
    "avg_num_neighbors": 2.0,
    "scale": 1.0,
    "shift": 0.0,
}
WATER = Atoms("OH2", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.fixture
def model() -> MACE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MACE(**ARGUMENTS)


def test_a_given_model_is_used_as_it_is(model):
    assert given_models(model)[0][0] is model
    assert model.training


def test_a_given_model_is_not_changed_by_another_dtype_or_backend(model):
    (double,), _ = given_models(model, dtype="float64", backend="plain")
    assert next(double.parameters()).dtype == torch.float64
    assert double.backend == "plain"
    assert next(model.parameters()).dtype == torch.float32
    assert model.backend == "auto"


def test_two_calculators_of_different_precision_share_a_model(model):
    single, double = (MACECalculator(model, dtype=d) for d in ("float32", "float64"))
    energies = [calc.get_property("energy", WATER) for calc in (single, double)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-5)


def test_a_refused_structure_does_not_answer_with_the_last_one(model):
    calculator = MACECalculator(model)
    calculator.calculate(WATER)
    sulfide = WATER.copy()
    sulfide.symbols[0] = "S"
    with pytest.raises(ValueError, match="element S is not known"):
        calculator.calculate(sulfide)
    sulfide.calc = calculator
    with pytest.raises(ValueError, match="element S is not known"):
        sulfide.get_potential_energy()


def test_what_is_not_finite_is_refused_in_hessian_and_descriptors(model):
    atoms = Atoms("OH", positions=np.zeros((2, 3)))
    calculator = MACECalculator(model)
    with pytest.raises(ValueError, match=r"not finite \(Hessian\).*0 \(O\) and 1 \(H\)"):
        calculator.get_hessian(atoms)


def test_a_device_that_is_not_there_is_named(model):
    with pytest.raises(ValueError, match="device='gpu' cannot be used here"):
        given_models(model, device="gpu")


def test_what_is_no_model_and_an_unknown_backend_are_named():
    """In a process of its own, where nothing checks annotations."""
    lines = [
        "from mace_train.checkpoints.given_models import given_models",
        "for model, options in ((3, {}), (b'x', {}), (None, {})):",
        "    try: given_models(model, **options)",
        "    except TypeError as error: print(error)",
        "from mace_train.model.backends import chosen_backend",
        "import torch",
        "try: chosen_backend('fast', torch.device('cpu'))",
        "except ValueError as error: print(error)",
    ]
    printed = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split(": ")[0] for line in printed[:3]] == [
        "model=3 is a int",
        "model=b'x' is a bytes",
        "model=None is a NoneType",
    ]
    assert printed[3] == (
        "backend='fast' is unknown: use auto, plain, chunked or cuequivariance"
    )
