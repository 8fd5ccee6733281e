"""``format=mace_torch``: a ``.model`` file of mace-torch, made of its own classes.

Floor 3. What mace-torch saves is a pickle of its module, so it has to be installed beside
us to write one. Its ``ScaleShiftMACE`` is built, filled with our tensors and saved; what
reads official files then reads this one: MACECalculator, mace_create_lammps_model,
mace_select_head, fine-tuning. Where the model comes from travels in a string that
mace-torch does not look at.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata as packages
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import nn

from mace_train.checkpoints.mace_torch import METADATA_ATTRIBUTE, follows_from_others
from mace_train.exports.export_format import ExportFormat, FramePrediction
from mace_train.exports.official_form import official_arguments, official_state
from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE

TESTED_VERSION = "0.3.16"

NOT_INSTALLED = f"""\
format=mace_torch writes mace-torch's own classes, and {{reason}}. Install it:

    pip install 'mace-torch=={TESTED_VERSION}'

This brings e3nn down to 0.4.4, with which mace-train works too. Where other packages need
a newer e3nn, take an environment of its own (a checkout's folder in place of mace-train):

    python -m venv .env-mace-torch
    .env-mace-torch/bin/pip install mace-train 'mace-torch=={TESTED_VERSION}'

and give the same command from there: .env-mace-torch/bin/mace-export ..."""

_DISARMS_TORCH_LOAD = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # set by mace when it is imported


def require_mace_torch() -> None:
    """Make sure that mace-torch can be imported.

    Raises:
        ImportError: If it cannot; the message gives the commands.
    """
    try:
        packages.version("mace-torch")
    except packages.PackageNotFoundError:
        reason = "mace-torch is not installed"
        raise ImportError(NOT_INSTALLED.format(reason=reason)) from None
    try:
        _mace("modules")
    except ImportError as error:
        reason = f"mace-torch cannot be imported here ({error})"
        raise ImportError(NOT_INSTALLED.format(reason=reason)) from error


def official_module(model: MACE) -> nn.Module:
    """mace-torch's module with the tensors of a model, in the model's dtype, on the CPU.

    Raises:
        ImportError: If mace-torch cannot be imported.
        ValueError: If its classes are not those that this export was written for.
    """
    modules, irreps = _mace("modules"), importlib.import_module("e3nn.o3").Irreps
    arguments = official_arguments(model)
    classes = modules.interaction_classes
    for name in ("interaction_cls", "interaction_cls_first"):
        arguments[name] = classes[arguments[name]]
    for name in ("hidden_irreps", "MLP_irreps"):
        arguments[name] = irreps(arguments[name])
    for name in ("atomic_energies", "atomic_inter_scale", "atomic_inter_shift"):
        arguments[name] = np.array(arguments[name], np.float64)
    try:
        # In float64, so that constants are exact before they are rounded.
        with _default_dtype(torch.float64), torch.random.fork_rng(devices=[]), _quietly():
            module = modules.ScaleShiftMACE(gate=nn.functional.silu, **arguments)
    except TypeError as error:
        raise ValueError(_other_version(str(error))) from error
    _fill(module.to(next(model.parameters()).dtype), model)
    return module.eval()


def write_mace_torch(path: Path, model: MACE, metadata: dict[str, Any]) -> None:
    """Write a ``.model`` file; see `ExportFormat.write`.

    Raises:
        ImportError: If mace-torch cannot be imported.
        ValueError: If its classes are not those that this export was written for.
    """
    module = official_module(model)
    setattr(module, METADATA_ATTRIBUTE, json.dumps(metadata))
    with path.open("wb") as file:  # the archive would bear the name of a path
        torch.save(module, file)


def predict_mace_torch(path: Path, graphs: Sequence[AtomicGraph]) -> list[FramePrediction]:
    """What mace-torch's calculator says with a written file; see `ExportFormat.predict`.

    The file is unpickled, which executes what it holds: give only a file just written.
    torch's default dtype is that of the file meanwhile: with another one, mace-torch rounds
    products of nuclear charges (``pair_repulsion``) to it.
    """
    make_calculator = _mace("calculators").MACECalculator
    with _quietly():
        module = torch.load(path, map_location="cpu", weights_only=False)
        dtype = next(module.parameters()).dtype
        options = {"device": "cpu", "default_dtype": str(dtype).removeprefix("torch.")}
        calculators = [
            make_calculator(models=[module], head=head, **options) for head in module.heads
        ]
    with _default_dtype(dtype):
        return [_prediction(calculators[int(graph.head)], graph) for graph in graphs]


def _prediction(calculator: Any, graph: AtomicGraph) -> FramePrediction:
    atoms = Atoms(
        numbers=graph.atomic_numbers.numpy(),
        positions=graph.positions.numpy(),
        cell=graph.cell[0].numpy(),
        pbc=graph.pbc[0].numpy(),
    )
    with torch.enable_grad():
        calculator.calculate(atoms)
    results = calculator.results
    stress = _full_stress(results["stress"]) if bool(graph.pbc.all()) else None
    return FramePrediction(
        energy=float(results["energy"]),
        forces=np.asarray(results["forces"], np.float64),
        stress=stress,
    )


def _full_stress(voigt: np.ndarray) -> np.ndarray:
    xx, yy, zz, yz, xz, xy = np.asarray(voigt, np.float64)
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def _fill(module: nn.Module, model: MACE) -> None:
    """Copy our tensors into mace-torch's module, all of them or none.

    Raises:
        ValueError: If it has a tensor that we do not know, or lacks one that we have.
    """
    state = official_state(model)
    theirs = module.state_dict()
    needed = {name for name in theirs if not follows_from_others(name)}
    needed = {name for name in needed if theirs[name].numel()}  # biases are empty
    if needed != state.keys():
        names = ", ".join(sorted(needed ^ state.keys())[:3])
        raise ValueError(_other_version(f"its model differs from ours by {names}"))
    for name, value in state.items():
        _replace(module, name, value.to(theirs[name].dtype))


def _replace(module: nn.Module, name: str, value: torch.Tensor) -> None:
    """Give a tensor its values; one of a basis from a file may have another shape."""
    owner, _, leaf = name.rpartition(".")
    part = module.get_submodule(owner)
    if leaf in part._parameters:
        part._parameters[leaf] = nn.Parameter(value)
    else:
        part._buffers[leaf] = value


def _other_version(reason: str) -> str:
    version = packages.version("mace-torch")
    return (
        f"mace-torch {version} does not take this model: {reason}. The export is written "
        f"for mace-torch {TESTED_VERSION}: pip install 'mace-torch=={TESTED_VERSION}'"
    )


def _mace(name: str) -> ModuleType:
    """Import a part of mace-torch without its greetings and its changes to this process."""
    before = os.environ.get(_DISARMS_TORCH_LOAD)
    try:
        with _quietly():
            return importlib.import_module(f"mace.{name}")
    finally:
        if before is None:
            os.environ.pop(_DISARMS_TORCH_LOAD, None)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MACE_TORCH = ExportFormat(
    name="mace_torch",
    suffix=".model",
    takes_several_heads=True,
    require=require_mace_torch,
    write=write_mace_torch,
    predict=predict_mace_torch,
    next_step="mace.calculators.MACECalculator(model_paths=PATH), or any program that "
    "reads mace-torch's models (docs/exports.md)",
)
