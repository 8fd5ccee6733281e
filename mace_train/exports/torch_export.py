"""``format=torch_export``: a ``.pt2`` file that runs with torch alone.

Floor 3. The model and the derivatives that give forces and stress are traced into one graph
of torch operations. `torch.export.load` runs it without this package, for any number of
atoms, edges and structures; ``metadata.json`` inside the file tells what goes in and out.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from mace_train.exports.export_format import ExportFormat, FramePrediction
from mace_train.exports.traced_form import INPUTS, OUTPUTS, TracedForm
from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE

FORMAT_VERSION = 1
METADATA_FILE = "metadata.json"

# Sizes of the traced example: unlike each other and any fixed size, so that no two are
# taken for the same by accident.
_NODES, _EDGES, _GRAPHS = 23, 37, 5


def write_torch_export(path: Path, model: MACE, metadata: dict[str, Any]) -> None:
    """Trace a model and write a ``.pt2`` file; see `ExportFormat.write`.

    Raises:
        ValueError: If torch cannot trace the model.
    """
    # Loading the compiler takes seconds, which only those pay who export with it.
    from torch._dynamo.exc import UserError

    example = _example(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = _Named(_traced(model, example))
            program = torch.export.export(
                traced, example, dynamic_shapes=_dynamic_shapes(), strict=False
            )
    except UserError as error:
        raise ValueError(
            f"torch {torch.__version__} cannot trace this model: {error}"
        ) from error
    text = json.dumps(_description(model) | {"provenance": metadata}, indent=1)
    torch.export.save(program, path, extra_files={METADATA_FILE: text})


def predict_torch_export(
    path: Path, graphs: Sequence[AtomicGraph]
) -> list[FramePrediction]:
    """What a written file says, loaded with torch alone; see `ExportFormat.predict`."""
    extra_files = {METADATA_FILE: ""}
    module = torch.export.load(path, extra_files=extra_files).module()
    dtype = getattr(torch, json.loads(extra_files[METADATA_FILE])["dtype"])
    predictions = []
    for graph in graphs:
        inputs = [getattr(graph.to("cpu", dtype), name) for name in INPUTS]
        with torch.inference_mode():
            outputs = module(*inputs)
        is_crystal = bool(graph.pbc.all())
        predictions.append(
            FramePrediction(
                energy=float(outputs["energy"].double()),
                forces=outputs["forces"].double().numpy(),
                stress=outputs["stress"][0].double().numpy() if is_crystal else None,
            )
        )
    return predictions


def _traced(model: MACE, example: tuple[Tensor, ...]) -> GraphModule:
    """The graph of a model with its derivatives, for any memory layout."""
    form = TracedForm(model)
    traced = make_fx(form, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
    aten = torch.ops.aten
    for node in traced.graph.nodes:
        # A view depends on strides, which a compiler is free to change.
        if node.target is aten.view.default:
            node.target = aten.reshape.default
    traced.recompile()
    return traced


class _Named(nn.Module):
    """A traced graph whose inputs have names again."""

    def __init__(self, traced: nn.Module) -> None:
        super().__init__()
        self.traced = traced

    def forward(
        self,
        positions: Tensor,
        atomic_numbers: Tensor,
        cell: Tensor,
        edge_index: Tensor,
        unit_shifts: Tensor,
        graph_index: Tensor,
    ) -> dict[str, Tensor]:
        return self.traced(
            positions, atomic_numbers, cell, edge_index, unit_shifts, graph_index
        )


def _dynamic_shapes() -> tuple[dict[int, Dim], ...]:
    nodes, edges, graphs = Dim("nodes", min=1), Dim("edges", min=0), Dim("graphs", min=1)
    return ({0: nodes}, {0: nodes}, {0: graphs}, {1: edges}, {0: edges}, {0: nodes})


def _example(model: MACE) -> tuple[Tensor, ...]:
    """Tensors of the right kinds; their values do not matter to a trace."""
    dtype = next(model.parameters()).dtype
    generator = torch.Generator().manual_seed(0)

    def indices(*shape: int) -> Tensor:
        return torch.randint(_NODES, shape, generator=generator)

    return (
        torch.randn(_NODES, 3, generator=generator, dtype=dtype),
        torch.tensor(model.elements.atomic_numbers)[indices(_NODES) % len(model.elements)],
        10 * torch.eye(3, dtype=dtype).repeat(_GRAPHS, 1, 1),
        indices(2, _EDGES),
        torch.ones(_EDGES, 3, dtype=dtype),
        indices(_NODES).sort().values * _GRAPHS // _NODES,
    )


def _description(model: MACE) -> dict[str, Any]:
    return {
        "format": "torch_export",
        "format_version": FORMAT_VERSION,
        "torch": torch.__version__,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "r_max": model.r_max,
        "atomic_numbers": list(model.elements.atomic_numbers),
        "head": model.heads[0],
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }


TORCH_EXPORT = ExportFormat(
    name="torch_export",
    suffix=".pt2",
    takes_several_heads=False,
    require=lambda: None,
    write=write_torch_export,
    predict=predict_torch_export,
    next_step="torch.export.load(PATH).module(), with torch alone (docs/exports.md)",
)
