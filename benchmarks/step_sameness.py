"""Do the two codes compute the same numbers? Compared before anything is timed.

All differences are norm-wise and relative: |ours - theirs| / |theirs|, for each tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from step_processes import Worker

GRADIENT = "gradient/"
PROPERTIES = ("energy", "forces", "stress", "loss")
NUM_STEPS = 10
CHECKED = 4  # crystals in the batch that is compared; half of them in each of ten steps

Arrays = dict[str, np.ndarray]


def compare(
    workers: list[Worker], model: Path, crystals: Path, folder: Path
) -> dict[str, Any]:
    """Differences in float64, of ten training steps, and the errors of float32.

    Args:
        workers: Ours and mace-torch's.
        model: The ``.model`` file.
        crystals: A few small crystals.
        folder: Where arrays are written.

    Returns:
        ``float64``: differences of energy, forces, stress, loss, the whole gradient and the
        worst parameter's; ``steps``: of losses and the worst weights after 1 and 10 steps;
        ``float32``: errors of each code against mace-torch in float64.
    """
    exact, theirs = _results(workers, model, crystals, folder, dtype="float64")
    steps = _train(workers, model, crystals, folder)
    single = _results(workers, model, crystals, folder, dtype="float32")
    errors = [_differences(arrays, theirs) for arrays in single]
    return {
        "float64": _differences(exact, theirs),
        "steps": steps,
        "float32": {w.code: e for w, e in zip(workers, errors)},
    }


def printed(size: str, compared: dict[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{size}: the same numbers (relative, norm-wise)"]
    for title, found in (
        ("float64, ours - mace-torch", compared["float64"]),
        *((f"float32 error, {code}", e) for code, e in compared["float32"].items()),
    ):
        values = ", ".join(f"{n} {found[n]:.1e}" for n in (*PROPERTIES, "gradient"))
        worst = f"worst gradient {found['worst']:.1e} ({found['worst_name']})"
        lines.append(f"  {title}: {values}, {worst}")
    for number, found in compared["steps"].items():
        lines.append(
            f"  float64, after {number} training step(s): loss {found['loss']:.1e}, worst "
            f"weights {found['worst']:.1e} ({found['worst_name']})"
        )
    return "\n".join(lines)


def _results(
    workers: list[Worker], model: Path, crystals: Path, folder: Path, *, dtype: str
) -> list[Arrays]:
    arrays = []
    for worker in workers:
        worker.load(model, crystals, dtype, CHECKED)
        path = folder / f"{worker.code}.npz"
        worker.ask("results", batch=0, path=str(path))
        arrays.append(_read(path))
    return arrays


def _train(
    workers: list[Worker], model: Path, crystals: Path, folder: Path
) -> dict[str, dict[str, Any]]:
    losses: list[list[float]] = []
    weights: list[dict[int, Arrays]] = []
    for worker in workers:
        worker.load(model, crystals, "float64", CHECKED // 2)
        worker.mode("train")
        losses.append([])
        weights.append({})
        for step in range(NUM_STEPS):
            losses[-1].append(worker.ask("step", batch=step % 2)["loss"])
            if step + 1 in (1, NUM_STEPS):
                path = folder / f"{worker.code}.npz"
                worker.ask("weights", path=str(path))
                weights[-1][step + 1] = _read(path)
    differences = {}
    for number in weights[0]:
        ours, theirs = (np.array(values[:number]) for values in losses)
        worst_name, worst = _worst(weights[0][number], weights[1][number])
        loss = float(np.max(np.abs(ours - theirs) / np.abs(theirs)))
        differences[str(number)] = {"loss": loss, "worst": worst, "worst_name": worst_name}
    return differences


def _differences(found: Arrays, exact: Arrays) -> dict[str, Any]:
    gradients = [
        {n: a for n, a in x.items() if n.startswith(GRADIENT)} for x in (found, exact)
    ]
    assert gradients[0].keys() == gradients[1].keys(), "the codes name parameters otherwise"
    worst_name, worst = _worst(*gradients)
    flat = [np.concatenate([x[n].ravel() for n in sorted(x)]) for x in gradients]
    return {
        **{name: _relative(found[name], exact[name]) for name in PROPERTIES},
        "gradient": _relative(*flat),
        "worst": worst,
        "worst_name": worst_name.removeprefix(GRADIENT),
    }


def _worst(found: Arrays, exact: Arrays) -> tuple[str, float]:
    differences = {name: _relative(found[name], exact[name]) for name in exact}
    name = max(differences, key=lambda n: differences[n])
    return name, differences[name]


def _relative(found: np.ndarray, exact: np.ndarray) -> float:
    size = float(np.linalg.norm(exact))
    difference = float(np.linalg.norm(found - exact))
    return difference / size if size else difference


def _read(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)
