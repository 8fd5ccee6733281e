"""Our constructor's arguments, read off an official file's modules and tensors.

Shapes are trusted before attributes, which changed from version to version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mace_train.checkpoints.official_modules import (
    KIND_BY_INTERACTION,
    OfficialModule,
    irreps_of,
    number_of,
    show,
)

if TYPE_CHECKING:
    from mace_train.checkpoints.torch_archive import TorchArchive


def arguments_of(
    archive: TorchArchive,
    modules: dict[str, OfficialModule],
    tensors: dict[str, Tensor],
) -> dict[str, Any]:
    """All arguments of `mace_train.model.mace.MACE` but ``product_basis``.

    Args:
        archive: Where ``modules`` come from, for numbers that are held as tensors.
        modules: See `read_modules`.
        tensors: The state dict under its foreign names.

    Raises:
        ValueError: If something is missing, or differs between layers where ours has one
            value.
    """
    return _Reader(archive, modules, tensors).arguments()


class _Reader:
    def __init__(
        self,
        archive: TorchArchive,
        modules: dict[str, OfficialModule],
        tensors: dict[str, Tensor],
    ) -> None:
        self._archive = archive
        self._modules = modules
        self._tensors = tensors
        self._num_layers = len(self._module("interactions").named("_modules"))

    def arguments(self) -> dict[str, Any]:
        heads = self._heads()
        kinds = [
            KIND_BY_INTERACTION.get(self._module(f"interactions.{layer}").kind, "")
            for layer in range(self._num_layers)
        ]
        if len(set(kinds[1:])) > 1:
            raise ValueError(
                f"its interactions {kinds} differ beyond the first: not supported"
            )
        contractions = "symmetric_contractions.contractions"
        if f"products.{self._num_layers - 1}.{contractions}.1" in self._modules:
            raise ValueError("its last layer has features beyond scalars: not supported")
        return {
            "hidden_irreps": self._hidden_irreps(),
            "max_ell": self._max_ell(),
            "correlation": self._correlation(),
            "num_interactions": self._num_layers,
            "r_max": self._r_max(),
            "num_radial_basis": self._tensor(
                "radial_embedding.bessel_fn.bessel_weights"
            ).numel(),
            "cutoff_p": self._cutoff_p(),
            "radial_mlp": self._radial_mlp(),
            "readout_hidden_irreps": self._readout_hidden_irreps(len(heads)),
            "first_interaction": kinds[0],
            "interaction": kinds[-1] if len(kinds) > 1 else "residual",
            "distance_transform": self._distance_transform(),
            "pair_repulsion": "pair_repulsion_fn" in self._modules,
            "atomic_numbers": self._tensor("atomic_numbers").tolist(),
            "atomic_energies": self._tensor("atomic_energies_fn.atomic_energies").tolist(),
            "avg_num_neighbors": self._avg_num_neighbors(),
            "scale": self._tensor("scale_shift.scale").tolist(),
            "shift": self._tensor("scale_shift.shift").tolist(),
            "heads": heads,
        }

    def _module(self, path: str) -> OfficialModule:
        if path not in self._modules:
            raise ValueError(f"it has no part {path!r}")
        return self._modules[path]

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise ValueError(f"it has no tensor {name!r}")
        return self._tensors[name]

    def _attribute(self, path: str, name: str) -> Any:
        attributes = self._module(path).attributes
        if name not in attributes:
            raise ValueError(f"its part {path} has no attribute {name!r}")
        return attributes[name]

    def _scalar(self, name: str) -> float:
        tensor = self._tensor(name)
        if tensor.numel() != 1:
            raise ValueError(f"its tensor {name!r} is not a single number")
        return float(tensor)

    def _heads(self) -> list[str]:
        """Files from before there were heads have one."""
        heads = self._module("").attributes.get("heads", ["Default"])
        if (
            not isinstance(heads, list)
            or not heads
            or not all(type(h) is str for h in heads)
        ):
            raise ValueError(f"its heads are {show(heads)}, not a list of names")
        return heads

    def _hidden_irreps(self) -> str:
        """Those of the first product, which a single layer cuts down to scalars."""
        return _text(irreps_of(self._attribute("interactions.0", "hidden_irreps")))

    def _readout_hidden_irreps(self, num_heads: int) -> str:
        last = self._module(f"readouts.{self._num_layers - 1}")
        if "hidden_irreps" not in last.attributes:
            return "16x0e"  # a single layer has a linear readout only, and ignores this
        irreps = irreps_of(last.attributes["hidden_irreps"])
        return _text([(mul // num_heads, degree, parity) for mul, degree, parity in irreps])

    def _max_ell(self) -> int:
        degrees = self._attribute("spherical_harmonics", "_ls_list")
        if not isinstance(degrees, list) or degrees != list(range(len(degrees))):
            raise ValueError(
                f"its spherical harmonics have l = {show(degrees)}: not supported"
            )
        return len(degrees) - 1

    def _correlation(self) -> int:
        """The order of each contraction: its number of U matrices."""
        pattern = re.compile(r"(products\.\d+\.\w+\.contractions\.\d+)\.U_matrix_(\d+)")
        order_by_contraction: dict[str, int] = {}
        for name in self._tensors:
            if found := pattern.fullmatch(name):
                path, order = found[1], int(found[2])
                order_by_contraction[path] = max(order, order_by_contraction.get(path, 0))
        orders = set(order_by_contraction.values())
        if len(orders) != 1:
            raise ValueError(
                f"its layers have correlation {sorted(orders)}: only one is supported"
            )
        return orders.pop()

    def _r_max(self) -> float:
        names = (
            "r_max",
            "radial_embedding.bessel_fn.r_max",
            "radial_embedding.cutoff_fn.r_max",
        )
        values = {self._scalar(name) for name in names}
        if len(values) != 1:
            raise ValueError(f"its cutoffs {sorted(values)} Å differ: not supported")
        return values.pop()

    def _cutoff_p(self) -> int:
        values = {self._scalar("radial_embedding.cutoff_fn.p")}
        if "pair_repulsion_fn.p" in self._tensors:
            values.add(self._scalar("pair_repulsion_fn.p"))
        if len(values) != 1 or not (p := values.pop()).is_integer():
            raise ValueError(
                "its cutoffs have a p that differs or is no integer: not supported"
            )
        return int(p)  # versions before 2025 hold a float

    def _radial_mlp(self) -> list[int]:
        widths = []
        for layer in range(self._num_layers):
            path = f"interactions.{layer}.conv_tp_weights"
            count = len(self._module(path).named("_modules"))
            weights = [self._tensor(f"{path}.layer{i}.weight") for i in range(count)]
            if any(weight.ndim != 2 for weight in weights):
                raise ValueError(
                    f"its radial MLP {path} holds weights that are no matrices"
                )
            widths.append([weight.shape[-1] for weight in weights[:-1]])
        if any(width != widths[0] for width in widths):
            raise ValueError(
                f"its radial MLPs {widths} differ between layers: not supported"
            )
        return widths[0]

    def _distance_transform(self) -> str:
        transform = self._modules.get("radial_embedding.distance_transform")
        if transform is None:
            return "none"
        if transform.kind != "mace.modules.radial.AgnesiTransform":
            raise ValueError(f"its distance transform {transform.kind} is not supported")
        return "agnesi"

    def _avg_num_neighbors(self) -> float:
        """A plain attribute of each interaction, in no state dict."""
        values = [
            self._attribute(f"interactions.{layer}", "avg_num_neighbors")
            for layer in range(self._num_layers)
        ]
        numbers = {number_of(value, archive=self._archive) for value in values}
        if len(numbers) != 1:
            raise ValueError(
                f"its layers have avg_num_neighbors {numbers}: only one is supported"
            )
        return numbers.pop()


def _text(irreps: list[tuple[int, int, int]]) -> str:
    return " + ".join(
        f"{mul}x{degree}{'e' if p == 1 else 'o'}" for mul, degree, p in irreps
    )
