"""``finetune.committee=N``: models trained one after another, whose spread tells doubt.

Floor 6. Each member is a run of its own in ``member-0``, ``member-1`` ..., with a seed of
its own: another order of frames, other validation frames, and other random updates.
"""

from __future__ import annotations

import copy
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mace_train.cli.command import Interrupted
from mace_train.cli.run_folder import RunFolder
from mace_train.training.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_COLUMNS = {
    "energy_per_atom_rmse": "meV/atom",
    "forces_rmse": "meV/Å",
    "stress_rmse": "meV/Å³",
}


def run_committee(
    config: dict[str, Any],
    run: Callable[..., dict[str, Any]],
    *,
    num_ranks: int = 1,
) -> dict[str, Any]:
    """Train all members; those that are finished already are only reported.

    Args:
        config: Of the run, with ``finetune.committee`` above 1.
        run: Trains one model; it is told when the committee ``began``, for the time limit.
        num_ranks: Processes that were asked for.

    Returns:
        What results.json of the whole holds: the results of each member, and under
        ``committee`` means over members.

    Raises:
        ValueError: If members would be tested on frames that others have learned, or there
            are several processes, of which each would train all members.
    """
    number, folder = config["finetune"]["committee"], Path(config["run_dir"])
    if num_ranks > 1:
        raise ValueError(
            f"finetune.committee={number} with {num_ranks} processes is refused: members "
            "are trained one after another by one process. Set trainer.devices=1, or start "
            "a run for each member: seed=0 name=member-0, seed=1 name=member-1 ..."
        )
    if config["data"]["test_fraction"] > 0:
        raise ValueError(
            f"data.test_fraction={config['data']['test_fraction']} with finetune."
            f"committee={number}: members hold out different frames, so that each would "
            "be tested on frames that others have learned. Give the test as data.test=FILE"
        )
    whole = RunFolder(folder)
    with whole.locked(), whole.logging():
        results = _train_members(config, run, whole)
        pattern = folder / "member-*" / "model.safetensors"
        logger.info("committee of %d\n\n%s\n", number, _table(results))
        logger.info("models: %s", pattern)
        logger.info(
            "next: MACECalculator('%s') in ASE, or mace-evaluate 'checkpoint=\"%s\"' "
            "data.test=FILE; where the members disagree, they know nothing",
            pattern,
            pattern,
        )
        whole.write_status("finished")
    return results


def _train_members(
    config: dict[str, Any], run: Callable[..., dict[str, Any]], whole: RunFolder
) -> dict[str, Any]:
    """Results of all members and their means; a job asks the status how it ended."""
    results: dict[str, Any] = {}
    began = time.time()
    whole.write_status("running")
    for member in range(config["finetune"]["committee"]):
        name = f"member-{member}"
        logger.info("committee: %s of %d", name, config["finetune"]["committee"])
        try:
            results[name] = run(_member(config, member, whole.path / name), began=began)
        except Interrupted as stop:
            whole.write_status("interrupted", reason=f"{name}: {stop}")
            raise
        except Exception as error:
            whole.write_status("failed", reason=f"{name}: {error}")
            raise
    results["committee"] = _means(results)
    write_whole(whole.path / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def _member(config: dict[str, Any], member: int, run_dir: Path) -> dict[str, Any]:
    """The config of one member."""
    own = copy.deepcopy(config)
    own["finetune"]["committee"] = 1
    own["run_dir"], own["name"] = str(run_dir), f"{config['name']}-{run_dir.name}"
    own["seed"] += member
    own["data"]["seed"] += member
    return own


def _means(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Means over members, by split, of the root mean square errors that all have."""
    members = list(results.values())
    means: dict[str, dict[str, float]] = {}
    for split in ("valid", "test"):
        errors = {
            key: [one[split][key] for one in members if one.get(split)] for key in _COLUMNS
        }
        means[split] = {
            key: float(np.mean(values))
            for key, values in errors.items()
            if values and None not in values
        }
    return {split: values for split, values in means.items() if values}


def _table(results: dict[str, Any]) -> str:
    """A line for each member: root mean square errors on its validation and the test."""
    splits = [s for s in ("valid", "test") if s in results["committee"]]
    keys = [key for key in _COLUMNS if any(key in results["committee"][s] for s in splits)]
    names = [f"{split} {_COLUMNS[key]}" for split in splits for key in keys]
    lines = [f"{'RMSE':<12}" + "".join(f"{name:>18}" for name in names)]
    for name, one in results.items():
        shown = "mean" if name == "committee" else name
        values = [one.get(split, {}).get(key) for split in splits for key in keys]
        cells = ["-" if value is None else f"{1000 * value:.2f}" for value in values]
        lines.append(f"{shown:<12}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)
