"""mace-torch as `step_worker` drives it; runs in its own environment."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import warnings
from typing import Any

os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # e3nn 0.4.4 needs it
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from crystals import ELEMENTS, Crystal  # noqa: E402
from mace import data, modules  # noqa: E402
from mace.tools import AtomicNumberTable, scripts_utils  # noqa: E402
from mace.tools.torch_geometric import Batch  # noqa: E402
from step_worker import (  # noqa: E402
    CLIP_NORM,
    LEARNING_RATE,
    WEIGHT_DECAY,
    WEIGHTS,
    Code,
    prepare_process,
    serve,
)
from torch import Tensor  # noqa: E402

# isort: split
from e3nn import o3  # noqa: E402 - after mace, which lets e3nn 0.4.4 load its constants

INTERACTIONS = {
    "plain": "RealAgnosticInteractionBlock",
    "residual": "RealAgnosticResidualInteractionBlock",
    "density": "RealAgnosticDensityInteractionBlock",
    "density_residual": "RealAgnosticDensityResidualInteractionBlock",
}
TRANSFORMS = {"none": "None", "agnesi": "Agnesi"}


class MaceTorch(Code):
    """A step as ``mace_run_train`` takes it, a prediction as its calculator makes it."""

    def versions(self) -> dict[str, str]:
        """Versions of what decides the speed."""
        packages = ("mace-torch", "torch", "e3nn")
        return {package: importlib.metadata.version(package) for package in packages}

    def make(self, path: str, given: str, seed: int) -> None:
        """Write a model with random weights, in float64.

        Args:
            path: Of the ``.model`` file.
            given: A model group of our configuration, as JSON.
            seed: Of the weights.
        """
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(seed)
        model = _official_model(json.loads(given))
        with torch.no_grad():  # initial weights give forces near zero
            for parameter in (*model.products.parameters(), *model.readouts.parameters()):
                parameter.mul_(2.0)
        torch.save(model, path)

    def _read_model(self, path: str, dtype: torch.dtype) -> None:
        torch.set_default_dtype(dtype)
        self.model = torch.load(path, weights_only=False).to(dtype)
        self.loss = modules.loss.UniversalLoss(**WEIGHTS, huber_delta=0.01)
        self.cutoff = float(self.model.r_max)

    def _make_optimizer(self) -> torch.optim.Optimizer:
        settings = argparse.Namespace(
            optimizer="adam",
            lr=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            amsgrad=True,
            beta=0.9,
            lr_params_factors="{}",
            freeze=None,
        )
        groups = scripts_utils.get_params_options(settings, self.model)
        return scripts_utils.get_optimizer(settings, groups)

    def _graph(self, crystal: Crystal, dtype: torch.dtype) -> data.AtomicData:  # noqa: ARG002
        properties = ("energy", "forces", "stress")
        configuration = data.Configuration(
            atomic_numbers=crystal.numbers,
            positions=crystal.positions,
            cell=crystal.cell,
            pbc=(True, True, True),
            properties={name: getattr(crystal, name) for name in properties},
            property_weights=dict.fromkeys(properties, 1.0),
        )
        table = AtomicNumberTable(ELEMENTS)
        return data.AtomicData.from_config(configuration, z_table=table, cutoff=self.cutoff)

    def _collate(self, graphs: list[data.AtomicData]) -> Batch:
        return Batch.from_data_list(graphs)

    def _predict(self, batch: Batch, *, training: bool) -> dict[str, Any]:
        return self.model(
            batch.to_dict(), training=training, compute_force=True, compute_stress=True
        )

    def _loss(self, prediction: dict[str, Any], batch: Batch) -> Tensor:
        return self.loss(pred=prediction, ref=batch)

    def _values(self, prediction: dict[str, Any]) -> dict[str, Tensor]:
        return {name: prediction[name] for name in ("energy", "forces", "stress")}

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=CLIP_NORM)


def _official_model(given: dict[str, Any]) -> torch.nn.Module:
    kinds = (given["interaction"], given["first_interaction"])
    interaction, first = (modules.interaction_classes[INTERACTIONS[k]] for k in kinds)
    return modules.ScaleShiftMACE(
        r_max=given["r_max"],
        num_bessel=given["num_radial_basis"],
        num_polynomial_cutoff=given["cutoff_p"],
        max_ell=given["max_ell"],
        interaction_cls=interaction,
        interaction_cls_first=first,
        num_interactions=given["num_interactions"],
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(given["hidden_irreps"]),
        MLP_irreps=o3.Irreps(given["readout_hidden_irreps"]),
        atomic_energies=np.random.default_rng(0).normal(-3, 1, len(ELEMENTS)),
        avg_num_neighbors=given["avg_num_neighbors"],
        atomic_numbers=ELEMENTS,
        correlation=given["correlation"],
        gate=torch.nn.functional.silu,
        radial_MLP=given["radial_mlp"],
        radial_type="bessel",
        pair_repulsion=given["pair_repulsion"],
        distance_transform=TRANSFORMS[given["distance_transform"]],
        atomic_inter_scale=0.8,
        atomic_inter_shift=0.1,
        use_reduced_cg=False,  # as mace_run_train and the published models have it
    )


if __name__ == "__main__":
    serve(MaceTorch(), prepare_process().answers)
