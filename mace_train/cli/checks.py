"""What the schema cannot say: values of a config that must fit each other.

Floor 6, the standard library only. Each check looks only at keys whose own value is right,
so that one mistake gives one message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from mace_train.cli.checked import Values
from mace_train.cli.file_checks import (
    existing_e0s,
    existing_files,
    existing_model,
    one_model,
    wandb_account,
)
from mace_train.cli.finetune_config import finetune_checks
from mace_train.cli.problems import Problem
from mace_train.cli.submit_checks import slurm_job
from mace_train.training.run_time import parse_time

Check = Callable[[Values], Iterator[Problem]]

LABEL_KEYS = ("energy_key", "forces_key", "stress_key", "virials_key")
_IRREP = re.compile(r"^(?:(\d+)x)?(\d+)([eo])$")

_SYMBOLS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge
As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm
Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th
Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS = tuple(_SYMBOLS.split())
"""Chemical symbols in order of atomic number; ase's table would cost its import."""


def cross_check(
    config_name: str, config: dict[str, Any], choices: dict[str, str], clean: set[str]
) -> list[Problem]:
    """Everything that is wrong between the values of a config.

    Args:
        config_name: The command.
        config: Converted values.
        choices: Options of the config groups.
        clean: Dotted keys whose own value is right.
    """
    values = Values(config, choices, clean)
    return [problem for check in _CHECKS[config_name] for problem in check(values)]


def irreps_problem(text: str) -> str | None:
    """What is wrong with irreps in e3nn's notation, e.g. ``16x0e + 16x1o``.

    >>> irreps_problem("16x0e + 16x1o"), irreps_problem("16x0e + 8x1o")
    (None, 'all multiplicities must be equal (the number of channels), got [16, 8]')
    """
    terms = [_IRREP.match(term.strip()) for term in text.split("+")]
    if not all(terms):
        return "cannot be read; write e.g. 16x0e + 16x1o (multiplicity x degree and parity)"
    counts = [int(term[1] or 1) for term in terms if term]
    kinds = [term[2] + term[3] for term in terms if term]
    if min(counts) < 1 or len(set(kinds)) < len(kinds):
        return "each irrep stands once, with a multiplicity of at least 1"
    if "0e" not in kinds:
        return "scalars are missing: it must contain 0e, from which the energy is read"
    if len(set(counts)) > 1:
        return f"all multiplicities must be equal (the number of channels), got {counts}"
    return None


def _irreps(values: Values) -> Iterator[Problem]:
    for key in ("model.hidden_irreps", "model.readout_hidden_irreps"):
        if values.has(key) and isinstance(values.get(key), str):
            text = values.get(key)
            problem = irreps_problem(text)
            if not problem and key.endswith("readout_hidden_irreps") and "+" in text:
                problem = "the readout takes scalars only, e.g. 16x0e"
            if problem:
                yield Problem(key, f"{text!r}: {problem}")


def _orders(values: Values) -> Iterator[Problem]:
    limits = {"model.max_ell": (0, 4), "model.correlation": (1, 3)}
    for key, (low, high) in limits.items():
        if values.has(key) and not low <= values.get(key) <= high:
            allowed = f"an integer >= {low} and <= {high}"
            yield Problem(key, f"{values.get(key)!r} is not allowed; allowed: {allowed}")


def _fractions(values: Values) -> Iterator[Problem]:
    keys = ("data.valid_fraction", "data.test_fraction")
    if values.has(*keys):
        valid, test = values.get(keys[0]), values.get(keys[1])
        if valid + test >= 1:
            yield Problem(
                keys[0],
                f"{valid:g} and data.test_fraction={test:g} leave no training frames; "
                "allowed: a sum < 1",
            )


def _batch_size(values: Values) -> Iterator[Problem]:
    keys = ("data.batch_size", "data.batch_size_per_rank")
    if not values.has(*keys):
        return
    size, per_rank = values.get(keys[0]), values.get(keys[1])
    if (size is None) == (per_rank is None):
        what = (
            "neither is given"
            if size is None
            else f"both are given ({size} and {per_rank})"
        )
        yield Problem(
            keys[0],
            f"{what}: set data.batch_size (frames in the global batch) or "
            "data.batch_size_per_rank, and the other to null",
        )


def _stage_two(values: Values) -> Iterator[Problem]:
    keys = ("stage_two.start_epoch", "trainer.max_epochs")
    if not values.has(*keys) or values.get(keys[0]) is None:
        return
    start, end = values.get(keys[0]), values.get(keys[1])
    if start >= end:
        yield Problem(
            keys[0],
            f"{start} is never reached: trainer.max_epochs={end}; allowed: null or an "
            "integer < trainer.max_epochs",
        )


def _loss_weights(values: Values) -> Iterator[Problem]:
    for group in ("loss", "stage_two"):
        keys = [f"{group}.{name}_weight" for name in ("energy", "forces", "stress")]
        if values.has(*keys) and not any(values.get(key) for key in keys):
            yield Problem(
                keys[0], "all weights are 0, so nothing would be learnt; set one > 0"
            )


def _elements(
    values: Values, *, key: str = "data.elements", words: str = "auto | mp0"
) -> Iterator[Problem]:
    elements = values.get(key)
    if not isinstance(elements, list):
        return
    known = dict(zip([*SYMBOLS, *range(1, 119)], [*range(1, 119), *range(1, 119)]))
    wrong = [element for element in elements if element not in known]
    numbers = [known[element] for element in elements if element in known]
    if wrong or not elements or len(set(numbers)) < len(numbers):
        what = f"{wrong} are no elements" if wrong else f"{elements} is not allowed"
        allowed = f"{words} | a list of different elements, e.g. [1,8] or [H,O]"
        yield Problem(key, f"{what}; allowed: {allowed}")


def _dimer_elements(values: Values) -> Iterator[Problem]:
    yield from _elements(values, key="elements", words="auto | all")


def _some_check(values: Values) -> Iterator[Problem]:
    asked, skipped = values.get("checks"), values.get("skip")
    if not values.has("checks", "skip") or asked == "all":
        return
    left = {asked} if isinstance(asked, str) else set(asked)
    if not left - ({skipped} if isinstance(skipped, str) else set(skipped)):
        yield Problem("checks", f"{asked} without skip={skipped} leaves none; name a check")


def _known_cutoff(values: Values) -> Iterator[Problem]:
    for key in ("r_max", "num_interactions"):
        if values.get("checkpoint") is not None and values.get(key) is not None:
            what = f"{values.get(key)} is for a calculator; a model brings its own"
            yield Problem(key, f"{what}: leave {key} out")


def _label_keys(values: Values) -> Iterator[Problem]:
    for where, keys in _all_label_keys(values).items():
        stress, virials = keys.get("stress_key"), keys.get("virials_key")
        if virials is not None and stress not in (None, "auto"):
            yield Problem(
                f"{where}.virials_key",
                f"{virials!r} and {where}.stress_key={stress} are both given: there is one "
                "stress",
            )
        for name, key in keys.items():
            if key == "":
                allowed = "'' is not allowed; allowed: auto or the name of a label"
                yield Problem(f"{where}.{name}", allowed)


def _all_label_keys(values: Values) -> dict[str, dict[str, Any]]:
    """Names of labels by the place where they are given: for all data, or for one set."""
    given = {"data": values.within("data")}
    for key in ("data.train", "data.valid", "data.test", "data.guard", "data.replay"):
        sets = values.get(key)
        for number, one in enumerate(sets if isinstance(sets, list) else []):
            if isinstance(one, dict):
                given[f"{key}[{number}]"] = one
    return {
        where: {name: keys[name] for name in LABEL_KEYS if name in keys}
        for where, keys in given.items()
    }


def _max_time(values: Values) -> Iterator[Problem]:
    time = values.get("trainer.max_time")
    if time not in (None, "auto"):
        try:
            parse_time(time)
        except ValueError as error:
            yield Problem("trainer.max_time", str(error).partition("=")[2])


def _name(values: Values) -> Iterator[Problem]:
    name = values.get("name")
    if isinstance(name, str) and (not name or "/" in name or name in (".", "..")):
        message = f"{name!r} is not allowed; allowed: a folder's name without /"
        yield Problem("name", f"{message} (run_dir=FOLDER sets the whole path)")


def _scored(values: Values) -> Iterator[Problem]:
    checkpoint, calculator = values.get("checkpoint"), values.get("calculator._target_")
    if values.has("checkpoint") and (not checkpoint) == (calculator is None):
        what = (
            "neither it nor a calculator is given" if not checkpoint else "both are given"
        )
        cure = (
            "checkpoint=PATH of a model, or calculator._target_=CLASS of an ASE calculator"
        )
        yield Problem("checkpoint", f"{what}: give {cure}")


def _parquet(values: Values) -> Iterator[Problem]:
    if values.get("predictions") == "parquet" and find_spec("pyarrow") is None:
        cure = "pip install 'mace-train[parquet]', or predictions=extxyz"
        yield Problem("predictions", f"parquet needs pyarrow, which is not here: {cure}")


_DATA: tuple[Check, ...] = (_label_keys, existing_files)
_TRAIN: tuple[Check, ...] = (
    _irreps,
    _orders,
    _fractions,
    _batch_size,
    _stage_two,
    _loss_weights,
    _elements,
    existing_e0s,
    finetune_checks,
    wandb_account,
    slurm_job,
    _max_time,
    _name,
)
_CHECKS = {
    "train": (*_TRAIN, *_DATA),
    "prepare": _DATA,
    "evaluate": (_scored, _parquet, *_DATA),
    "export": (existing_model,),
    "check": (
        _scored,
        _dimer_elements,
        _known_cutoff,
        _some_check,
        existing_files,
        one_model,
    ),
}
