"""What a finished run tells: results.json, a table of errors, and figures.

Floor 4. `Report` evaluates the final model on every split; `write_evaluation` puts any
evaluations into a folder, and serves ``mace-evaluate`` too.
"""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from mace_train.training.evaluation import Evaluation, evaluate_model
from mace_train.training.figures import draw_learning_curves, draw_parity
from mace_train.training.metrics import QUANTITIES, Quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch

    from mace_train.constraints import PositiveInt
    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.training_data import Progress

logger = logging.getLogger(__name__)

TITLES: dict[str, Quantity] = {
    "energy (meV/atom)": "energy_per_atom",
    "forces (meV/Å)": "forces",
    "stress (meV/Å³)": "stress",
}

_ERRORS = tuple(f"{quantity}_mae" for quantity in QUANTITIES)


class Report:
    """Evaluate the trained model on each split and write what there is to see.

    Args:
        train_frames: Size of the sample of training frames; ``num_frames`` in results.json
            says how many there were.
        figures: Draw learning curves and parity plots.
    """

    def __init__(self, train_frames: PositiveInt = 500, figures: bool = True) -> None:
        self.train_frames = train_frames
        self.figures = figures

    def write(
        self,
        run_dir: Path,
        model: MACE,
        *,
        datamodule: MACEDataModule,
        device: torch.device | str = "cpu",
        show_progress: Callable[[str], AbstractContextManager[Progress]] | None = None,
        extra: Mapping[str, dict[str, Any]] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Evaluate and write ``results.json`` and the figures; log the table of errors.

        Args:
            run_dir: The run's folder; learning curves are drawn from its ``metrics.csv``.
            model: The final model.
            datamodule: Set up; gives the splits.
            device: Where to compute.
            show_progress: Opens, for a piece of work by name, what is told of the frames
                done.
            extra: What else results.json tells, by name, beside the splits.

        Returns:
            What results.json holds: the eight numbers of each split that has frames, and of
            each head in it, then ``extra``.
        """
        datasets = {
            "train": datamodule.train_sample(self.train_frames),
            "valid": datamodule.dataset("valid"),
            "test": datamodule.dataset("test"),
        }
        evaluations: dict[str, Evaluation] = {}
        for name, dataset in datasets.items():
            if dataset is None:
                continue
            work = f"evaluating {name}"
            with show_progress(work) if show_progress else nullcontext() as progress:
                evaluations[name] = evaluate_model(
                    model,
                    dataset,
                    batch_size=datamodule.valid_batch_size,
                    device=device,
                    progress=progress,
                )
        if self.figures:
            draw_learning_curves(run_dir / "learning_curves.png", run_dir / "metrics.csv")
        return write_evaluation(run_dir, evaluations, figures=self.figures, extra=extra)


def write_evaluation(
    folder: Path,
    evaluations: Mapping[str, Evaluation],
    *,
    figures: bool,
    extra: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Write ``results.json``, ``errors.json`` and parity plots; log the error table.

    ``results.json`` holds the eight numbers of each split, and of each head in it where
    there are several (``valid/HEAD``); ``errors.json`` force errors by element, errors by
    ``config_type`` and the worst frames.

    Args:
        folder: Where to write.
        evaluations: By split.
        figures: Draw parity plots.
        extra: What else results.json tells, by name, such as ``fine_tuning``; plain values
            without NaN.

    Returns:
        What results.json holds.

    Raises:
        ValueError: If a name in ``extra`` is that of a split.
    """
    rows = {
        name: evaluation
        for split, whole in evaluations.items()
        for name, evaluation in [
            (split, whole),
            *((f"{split}/{head}", part) for head, part in whole.by_head.items()),
        ]
    }
    taken = sorted(rows.keys() & (extra or {}).keys())
    if taken:
        raise ValueError(f"results.json already has {', '.join(taken)}: choose other names")
    results = {name: evaluation.results for name, evaluation in rows.items()}
    results |= extra or {}
    details = {name: evaluation.details() for name, evaluation in rows.items()}
    _write_json(folder / "results.json", results)
    _write_json(folder / "errors.json", details)
    if figures:
        predictions = {name: value.predictions for name, value in evaluations.items()}
        for quantity in QUANTITIES:
            name = quantity.replace("_per_atom", "")
            draw_parity(folder / f"parity_{name}.png", quantity, predictions)
    if any(results[name][key] is not None for name in rows for key in _ERRORS):
        logger.info("\n%s\n", results_table(rows))
    else:
        logger.info("there are no labels, so there are no errors to tell")
    return results


def results_table(evaluations: Mapping[str, Evaluation]) -> str:
    """Errors of each split as aligned text, in milli-units, beside predicting no force."""
    rows = [evaluation.results for evaluation in evaluations.values()]
    sizes = [
        [name, *(f"{row[f'num_{name}']:,}" for row in rows)] for name in ("frames", "atoms")
    ]
    blocks = [titled_columns("", [["split", *evaluations]]), titled_columns("", sizes)]
    for title, quantity in TITLES.items():
        mae, rmse = (
            [row[f"{quantity}_{name}"] for row in rows] for name in ("mae", "rmse")
        )
        blocks.append(
            titled_columns(title, [["MAE", *in_milli(mae)], ["RMSE", *in_milli(rmse)]])
        )
    zero = [evaluation.zero_forces for evaluation in evaluations.values()]
    zero_mae = in_milli([None if errors is None else errors[0] for errors in zero])
    blocks.append(titled_columns("zero forces (meV/Å)", [["MAE", *zero_mae]]))
    return "\n".join("   ".join(cells) for cells in zip(*blocks))


def titled_columns(title: str, columns: list[list[str]]) -> list[str]:
    """Columns side by side under one title, as lines of equal length.

    >>> titled_columns("forces", [["MAE", "1.00"], ["RMSE", "2.00"]])
    ['    forces', ' MAE  RMSE', '1.00  2.00']
    """
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns)
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths)) for row in rows]
    width = max(len(title), len(lines[0]))
    return [line.rjust(width) for line in (title, *lines)]


def in_milli(values: Sequence[float | int | None]) -> list[str]:
    """Numbers times 1000 with equal decimals, two where any is small; a dash for none."""
    known = [1000 * value for value in values if value is not None]
    decimals = 2 if known and min(known) < 10 else 1
    return ["-" if value is None else f"{1000 * value:.{decimals}f}" for value in values]


def _write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(
        json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    partial.replace(path)
