"""Read official mace-torch ``.model`` files: the one place that knows foreign names.

Such a file is a pickled module. `read_official` turns it into our constructor's arguments
and a state dict, with neither mace nor e3nn imported for it and nothing executed:
`torch_archive` reads it as plain data and `official_modules` refuses what ours does not
compute.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mace_train.checkpoints.official_arguments import arguments_of
from mace_train.checkpoints.official_modules import (
    OfficialModule,
    irreps_of,
    may_stand,
    read_modules,
)
from mace_train.checkpoints.torch_archive import TorchArchive
from mace_train.model.mace import MACE
from mace_train.model.rebuild import rebuild_model
from mace_train.model.wigner import product_basis

if TYPE_CHECKING:
    from pathlib import Path

METADATA_ATTRIBUTE = "mace_train_metadata"
"""JSON in a ``.model`` file that `mace_train.exports` wrote; mace-torch ignores it."""

# Tensors that follow from the others, and leftovers of older versions that nothing reads.
_DERIVED = re.compile(
    r"\.output_mask$|\.conv_tp\.weight$|\._w3j_\w+$|\.weights_(\d+|max)_zeroed$"
    r"|^pair_repulsion_fn\.(r_max|cutoff\.p|cutoff\.r_max)$"
)
# Tensors that became arguments of our constructor, which checks or rebuilds them.
_ARGUMENTS = {
    "atomic_numbers",
    "num_interactions",
    "r_max",
    "radial_embedding.bessel_fn.r_max",
    "radial_embedding.cutoff_fn.p",
    "radial_embedding.cutoff_fn.r_max",
    "pair_repulsion_fn.p",
}
_U_MATRIX = re.compile(
    r"products\.\d+\.symmetric_contractions\.contractions\.(\d+)\.U_matrix_(\d+)"
)
_SAME_BASIS = 1e-6  # float32 files hold rounded coefficients of order one


def load_official(path: Path, *, dtype: torch.dtype | None = None) -> MACE:
    """The model of an official mace-torch ``.model`` file.

    Args:
        path: See `read_official`.
        dtype: That of the file if None.

    Raises:
        UnsafeFileError: See `read_official`.
        ValueError: See `read_official`; or the tensors do not fit the architecture.
    """
    arguments, state = read_official(path)
    if _has_our_basis(state, arguments):
        # Ours are the same numbers, and exact in any dtype.
        basis = "own"
        state = {
            name: value for name, value in state.items() if not _U_MATRIX.fullmatch(name)
        }
    else:
        basis = "file"
    return rebuild_model({**arguments, "product_basis": basis}, state, dtype=dtype)


def read_official(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the architecture and the tensors of an official mace-torch ``.model`` file.

    Nothing of the file is executed or imported.

    Args:
        path: A ``ScaleShiftMACE`` saved by mace-torch with ``torch.save``.

    Returns:
        Arguments of `mace_train.model.mace.MACE`, and the state dict under mace-torch's
        names: ``atomic_energies_fn.atomic_energies`` is (heads, elements), scale and shift
        (heads,) whatever version wrote them; tensors that follow from others are left out;
        the U matrices are those of the file.

    Raises:
        UnsafeFileError: If the file names anything but the classes of such a model, or its
            tensors leave the file's bytes.
        ValueError: If it is damaged, or is not a model that ours computes; the message says
            what differs.
    """
    with TorchArchive(path) as archive:
        modules = read_modules(archive.load(is_allowed=may_stand))
        tensors = _tensors(archive, modules)
        arguments = arguments_of(archive, modules, tensors)
    return arguments, {n: value for n, value in tensors.items() if n not in _ARGUMENTS}


def read_official_metadata(path: Path) -> dict[str, Any]:
    """What an official file says of its origin; mace-export writes it, mace-torch does not.

    Raises:
        UnsafeFileError: See `read_official`.
        ValueError: See `read_official`; or it says nothing.
    """
    with TorchArchive(path) as archive:
        root = read_modules(archive.load(is_allowed=may_stand))[""]
    text = root.attributes.get(METADATA_ATTRIBUTE)
    if text is None:
        raise ValueError("it has no metadata, since mace-train did not write it")
    try:
        metadata = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("its metadata are not JSON") from error
    if not isinstance(metadata, dict):
        raise ValueError("its metadata are not a JSON object")
    return metadata


def follows_from_others(name: str) -> bool:
    """Whether a tensor of an official file follows from the others, or is read by nothing.

    >>> follows_from_others("interactions.0.linear.output_mask")
    True
    """
    return bool(_DERIVED.search(name))


def _has_our_basis(state: dict[str, Tensor], arguments: dict[str, Any]) -> bool:
    """Whether the file's U matrices are ours; newer files may have a reduced basis."""
    degrees = [degree for _, degree, _ in irreps_of(arguments["hidden_irreps"])]
    for name, theirs in state.items():
        if found := _U_MATRIX.fullmatch(name):
            place, order = int(found[1]), int(found[2])
            if place >= len(degrees):
                raise ValueError(f"its {name} is of no part of its hidden_irreps")
            degree = degrees[place]
            own_axis = () if degree == 0 else (2 * degree + 1,)  # none for a single entry
            expected = (*own_axis, *[(arguments["max_ell"] + 1) ** 2] * order)
            if theirs.shape[:-1] != expected:  # before ours takes time and memory
                raise ValueError(
                    f"its {name} has the shape {tuple(theirs.shape)}, where "
                    f"{(*expected, 'paths')} is expected"
                )
            ours = torch.from_numpy(
                product_basis(arguments["max_ell"], degree, correlation=order)
            )
            ours = ours[0] if degree == 0 else ours
            if ours.shape != theirs.shape:
                return False
            if not torch.allclose(ours, theirs.to(ours.dtype), rtol=0, atol=_SAME_BASIS):
                return False
    return True


def _tensors(
    archive: TorchArchive, modules: dict[str, OfficialModule]
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for module in modules.values():
        named = module.named("_parameters") | module.named("_buffers")
        for name, record in named.items():
            if follows_from_others(name):
                continue
            tensor = archive.tensor(record)
            if not name.endswith(".bias"):
                tensors[name] = tensor
            elif tensor.numel():
                raise ValueError(
                    f"its linear layer {module.path} has a bias: not supported"
                )
    # Files without heads hold (elements,) energies, 0-dimensional scale and shift.
    for name, with_heads in (
        ("atomic_energies_fn.atomic_energies", torch.atleast_2d),
        ("scale_shift.scale", torch.atleast_1d),
        ("scale_shift.shift", torch.atleast_1d),
    ):
        if name in tensors:
            tensors[name] = with_heads(tensors[name])
    return tensors
