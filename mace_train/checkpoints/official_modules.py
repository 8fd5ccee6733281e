"""The tree of modules in an official mace-torch file, and which of it our model computes.

`mace_torch` reads arguments and tensors off this tree. Whatever ours does not compute is
refused here by name: a file that is read but means something else is worse than none.
"""

from __future__ import annotations

import re
import reprlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mace_train.checkpoints.inert_pickle import Name, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.checkpoints.torch_archive import TorchArchive

KIND_BY_INTERACTION = {
    "mace.modules.blocks.RealAgnosticInteractionBlock": "plain",
    "mace.modules.blocks.RealAgnosticResidualInteractionBlock": "residual",
    "mace.modules.blocks.RealAgnosticDensityInteractionBlock": "density",
    "mace.modules.blocks.RealAgnosticDensityResidualInteractionBlock": "density_residual",
}
_ACTIVATION = "e3nn.nn._activation.Activation"
_FUNCTION = "e3nn.math._normalize_activation.normalize2mom"
_MODEL = "mace.modules.models.ScaleShiftMACE"
_MODULES = {
    _MODEL,
    *KIND_BY_INTERACTION,
    "mace.modules.blocks.AtomicEnergiesBlock",
    "mace.modules.blocks.EquivariantProductBasisBlock",
    "mace.modules.blocks.LinearNodeEmbeddingBlock",
    "mace.modules.blocks.LinearReadoutBlock",
    "mace.modules.blocks.NonLinearReadoutBlock",
    "mace.modules.blocks.RadialEmbeddingBlock",
    "mace.modules.blocks.ScaleShiftBlock",
    "mace.modules.irreps_tools.reshape_irreps",
    "mace.modules.radial.AgnesiTransform",
    "mace.modules.radial.BesselBasis",
    "mace.modules.radial.PolynomialCutoff",
    "mace.modules.radial.ZBLBasis",
    "mace.modules.symmetric_contraction.Contraction",
    "mace.modules.symmetric_contraction.SymmetricContraction",
    _FUNCTION,
    _ACTIVATION,
    "e3nn.nn._fc.FullyConnectedNet",
    "e3nn.nn._fc._Layer",
    "e3nn.o3._linear.Linear",
    "e3nn.o3._spherical_harmonics.SphericalHarmonics",
    "e3nn.o3._tensor_product._sub.FullyConnectedTensorProduct",
    "e3nn.o3._tensor_product._tensor_product.TensorProduct",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.ParameterList",
}
# Generated code of the contractions, kept as source text: ours has its own.
_GENERATED_CODE = "torch.fx.graph_module.reduce_graph_module"

# Attributes that change what a model computes, with the only value that ours computes.
_ONLY_VALUES: dict[str, Any] = {
    "apply_cutoff": True,
    "use_so3": False,
    "use_agnostic_product": False,
    "use_last_readout_only": False,
    "embedding_specs": None,
    "cueq_config": None,
    "normalize": True,
    "normalization": "component",
}
_SILU = Name("torch.nn.functional.silu")
_FORMAT_BY_NUMPY_CODE = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}
_MAX_MODULES = 3_000  # an official file with two layers has about 100


@dataclass(frozen=True)
class OfficialModule:
    """One module of the file.

    Attributes:
        path: Where it stands, e.g. ``interactions.0.linear_up``; empty for the model
            itself.
        kind: Dotted name of its class.
        attributes: What stood in its ``__dict__``.
    """

    path: str
    kind: str
    attributes: dict[str, Any]

    def named(self, group: str) -> dict[str, Any]:
        """Its ``_modules``, ``_parameters`` or ``_buffers``, by full name, without None."""
        entries = self.attributes.get(group, {})
        if not isinstance(entries, dict):
            raise ValueError(f"the {group} of {self.path} are not a dict")
        prefix = f"{self.path}." if self.path else ""
        return {
            f"{prefix}{name}": value for name, value in entries.items() if value is not None
        }


def may_stand(name: str) -> bool:
    """Whether a global name may be recorded (it is never imported).

    These are the names of a module's classes and of their plain parts. What is made of them
    is checked by `read_modules`.
    """
    if re.fullmatch(r"numpy\.(_?core\.multiarray\.scalar|dtype)", name):
        return True
    prefixes = ("mace.", "e3nn.", "torch.fx.", "torch.nn.modules.", "torch.nn.functional.")
    return name.startswith(prefixes)


def read_modules(root: Any) -> dict[str, OfficialModule]:
    """The modules of a ``ScaleShiftMACE`` by path, none of which ours does not compute.

    Args:
        root: What the file's pickle holds, see `TorchArchive.load`.

    Raises:
        ValueError: If it is something else, or has a part or option that ours does not
            compute; the message names it.
    """
    if isinstance(root, dict):
        raise ValueError(
            f"it holds a dict with the keys {sorted(map(str, root))[:5]} and no model. "
            "Weights alone (a training checkpoint of mace-torch, say) do not tell their "
            "architecture: give the .model file that mace-torch wrote beside it"
        )
    if isinstance(root, Record) and root.name != _MODEL:
        raise ValueError(
            f"it holds a {root.name}, which is not supported: only {_MODEL} is (energies, "
            "forces and stresses)"
        )
    modules = {module.path: module for module in _walk(root)}
    for module in modules.values():
        _check(module)
    _check_activations(modules)
    if modules[""].attributes.get("edge_irreps") is not None:
        raise ValueError("its option edge_irreps is not supported (only None)")
    return modules


def irreps_of(value: Any) -> list[tuple[int, int, int]]:
    """Multiplicity, l and parity of each part; files hold irreps as objects or as text."""
    if isinstance(value, str):
        found = [re.fullmatch(r"(\d+)x(\d+)([eo])", p.strip()) for p in value.split("+")]
        if None not in found:
            groups = [match.groups() for match in found if match]
            return [
                (int(mul), int(degree), 1 if p == "e" else -1) for mul, degree, p in groups
            ]
    match value:
        case Record(name="e3nn.o3._irreps.Irreps", args=(tuple(parts),)):
            return [_mul_ir(part) for part in parts]
    raise ValueError(f"it holds irreps in an unknown form: {show(value)}")


def number_of(value: Any, *, archive: TorchArchive) -> float:
    """A number that a file may hold as a Python number, a numpy scalar or a tensor."""
    match value:
        case bool():
            pass
        case int() | float():
            return float(value)
        case Record(
            name="numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar",
            args=(
                Record(name="numpy.dtype", args=(str(code), *_), state=(_, order, *_)),
                bytes(data),
            ),
        ) if code in _FORMAT_BY_NUMPY_CODE and order in ("<", "=", "|"):
            layout = _FORMAT_BY_NUMPY_CODE[code]
            if struct.calcsize(layout) == len(data):
                return float(struct.unpack(layout, data)[0])
        case Record(name=name) if name.startswith("torch._utils."):
            tensor = archive.tensor(value)
            if tensor.numel() == 1:
                return float(tensor)
    raise ValueError(f"it holds {show(value)} where a number should stand")


def show(value: Any) -> str:
    """A short text for a value of the file, for messages."""
    if isinstance(value, Record):
        return value.name
    # Not repr, which a hostile file can nest too deep for Python's stack.
    return value.full if isinstance(value, Name) else reprlib.repr(value)[:80]


def _mul_ir(value: Any) -> tuple[int, int, int]:
    match value:
        case Record(args=((int(mul), Record(args=((int(degree), int(parity)),))),)):
            return mul, degree, parity
    raise ValueError(f"it holds irreps in an unknown form: {show(value)}")


def _walk(root: Any) -> Iterator[OfficialModule]:
    todo: list[tuple[str, Any]] = [("", root)]
    count = 0
    while todo:
        path, record = todo.pop()
        count += 1
        if count > _MAX_MODULES:  # a module inside itself has no end
            raise ValueError(f"it has more than {_MAX_MODULES} modules")
        if isinstance(record, Record) and record.name == _GENERATED_CODE:
            continue
        if not isinstance(record, Record) or not isinstance(record.state, dict):
            raise ValueError(
                f"it holds {show(record)} where a module should stand ({path})"
            )
        module = OfficialModule(path, record.name, record.state)
        yield module
        todo += module.named("_modules").items()


def _check(module: OfficialModule) -> None:
    where = f" of {module.path}" if module.path else ""
    if module.kind not in _MODULES:
        raise ValueError(
            f"its part {module.path} is a {module.kind}, which is not supported"
        )
    for name, only in _ONLY_VALUES.items():
        value = module.attributes.get(name, only)
        if value != only:
            raise ValueError(
                f"its option {name}={show(value)}{where} is not supported (only {only})"
            )


def _check_activations(modules: dict[str, OfficialModule]) -> None:
    """Each normalized function is silu, and readouts have one."""
    functions = {
        m.path: m.attributes.get("f") for m in modules.values() if m.kind == _FUNCTION
    }
    for module in modules.values():
        if module.kind == _ACTIVATION:
            functions.setdefault(f"{module.path}.acts.0", None)
    for path, function in functions.items():
        if function != _SILU:
            raise ValueError(
                f"its activation {show(function)} of {path} is not supported (only silu)"
            )
