"""What a config refers to outside itself: files that must exist, and an account.

Floor 6, the standard library only.
"""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from mace_train.cli.problems import Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.cli.checked import Values

RUN_MODEL = "model.safetensors"
"""The model file in the folder of a run that has ended."""

E0_SOURCES = ("least_squares", "isolated_atoms", "mp0")

MPTRJ_ABSENT = """\
MPtrj is not there: {path} does not exist.
Expected: MPtrj in extended XYZ (training_data.zip, or its folder of 145,923 files with
1,580,395 frames, about 6 GB), its original JSON, or the shards, about 2 GB, that
mace-prepare makes of them. scripts/fetch_mptrj.sh fetches it; data/README.md tells more.
Put it at {path}, or name its place with data.train=PLACE.
To make shards once: mace-prepare data.train=PLACE output=shards/mptrj"""


def existing_files(values: Values) -> Iterator[Problem]:
    """Data, models and checkpoints that are named but not there."""
    for key in ("init_from", "checkpoint", "data.split_file", "structure"):
        path = values.get(key)
        for one in path if isinstance(path, list) else [path]:
            is_named = isinstance(one, str) and not Path(one).is_file()
            if is_named and not (key == "checkpoint" and _is_committee(one)):
                inside = Path(one) / RUN_MODEL
                hint = f"; did you mean {key}={inside}?" if inside.is_file() else ""
                yield Problem(key, f"{one!r} is no file{hint}")
    resume = values.get("resume")
    words = ("auto", "never")
    if isinstance(resume, str) and resume not in words and not Path(resume).is_file():
        hint = nearest(resume, words)
        yield Problem(
            "resume",
            f"{resume!r} is no checkpoint file; allowed: auto | never | PATH{hint}",
        )
    for key in ("train", "valid", "test", "replay", "guard"):
        yield from _existing_sources(f"data.{key}", values)


def _is_committee(pattern: str) -> bool:
    """Whether a glob finds models."""
    return any(sign in pattern for sign in "*?[") and _matches(pattern)


def one_model(values: Values) -> Iterator[Problem]:
    """A glob of models, where only one model is taken."""
    given = values.get("checkpoint")
    if isinstance(given, str) and not Path(given).is_file() and _is_committee(given):
        what = f"{given!r} is a pattern, but mace-check takes one model"
        yield Problem("checkpoint", f"{what}; committees are not checked: name one file")


def existing_model(values: Values) -> Iterator[Problem]:
    """A checkpoint that is no file, nor a run's folder with a model in it."""
    given = values.get("checkpoint")
    path = Path(given) if isinstance(given, str) else None
    if path is None or path.is_file() or (path / RUN_MODEL).is_file():
        return
    if not path.is_dir():
        siblings = [str(p) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        yield Problem("checkpoint", f"{given!r} is no file{nearest(str(path), siblings)}")
        return
    last = path / "checkpoints" / "last.ckpt"
    cure = f"; its run has not ended, but has checkpoint={last}" if last.is_file() else ""
    yield Problem("checkpoint", f"the folder {given!r} has no {RUN_MODEL}{cure}")


def _existing_sources(key: str, values: Values) -> Iterator[Problem]:
    for source in _named_paths(values.get(key)):
        if source == "sample" or Path(source).exists() or _matches(source):
            continue
        if values.choices.get("data") == "mptrj" and source == "data/mptrj":
            yield Problem(key, MPTRJ_ABSENT.format(path=source))
            continue
        parent = Path(source).parent
        hint = "" if parent.is_dir() else f" (nor is there a folder {str(parent)!r})"
        siblings = [str(path) for path in parent.iterdir()] if parent.is_dir() else []
        hint += nearest(source, siblings)
        yield Problem(key, f"{source!r} does not exist{hint}")


def _named_paths(sources: Any) -> Iterator[str]:
    """All paths of a value such as that of ``data.train``."""
    for source in sources if isinstance(sources, list) else [sources]:
        if isinstance(source, str):
            yield source
        elif source is not None:
            yield from _named_paths(source["path"])


def _matches(pattern: str) -> bool:
    """Whether a glob finds anything."""
    path = Path(pattern)
    return any(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))


def existing_e0s(values: Values) -> Iterator[Problem]:
    """A source of E0s that is neither a known word nor a file."""
    sources = {"data.e0s": values.get("data.e0s")}
    train = values.get("data.train")
    for number, one in enumerate(train if isinstance(train, list) else []):
        if isinstance(one, dict):
            sources[f"data.train[{number}].e0s"] = one.get("e0s")
    for key, source in sources.items():
        is_known = source in E0_SOURCES
        if isinstance(source, str) and not is_known and not Path(source).is_file():
            allowed = f"{' | '.join(E0_SOURCES)} | PATH of a JSON file"
            hint = nearest(source, E0_SOURCES)
            yield Problem(key, f"{source!r} is no such file; allowed: {allowed}{hint}")


def wandb_account(values: Values) -> Iterator[Problem]:
    """Online logging without an account."""
    is_wandb = values.get("logger._target_") == "mace_train.cli.loggers.Wandb"
    if is_wandb and values.get("logger.mode") == "online" and not _has_wandb_account():
        cure = (
            "run `wandb login`, or set WANDB_API_KEY, or log offline: logger.mode=offline"
        )
        yield Problem("logger", f"wandb has no account to log to: {cure}")


def _has_wandb_account() -> bool:
    """Whether wandb has a key, or was told not to need one."""
    if (
        os.environ.get("WANDB_API_KEY")
        or os.environ.get("WANDB_MODE", "online") != "online"
    ):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
