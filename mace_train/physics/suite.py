"""`run_checks`: all checks of a potential, one after another, whatever happens in one.

Floor 3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from mace_train.physics.conservation import check_nve
from mace_train.physics.cutoff import check_cutoff
from mace_train.physics.dimers import check_dimers
from mace_train.physics.extensivity import check_far_pieces, check_supercell
from mace_train.physics.finite_differences import check_forces, check_stress
from mace_train.physics.invariances import (
    check_permutation,
    check_reflection,
    check_rotation,
    check_translation,
    check_wrapping,
)
from mace_train.physics.locality import check_locality
from mace_train.physics.outcome import Findings, Outcome
from mace_train.physics.potential import LeftOutError
from mace_train.physics.volumes import check_volumes

if TYPE_CHECKING:
    from mace_train.physics.setting import Setting

CheckName = Literal[
    "rotation", "reflection", "translation", "permutation", "wrapping",
    "forces", "stress", "supercell", "far_pieces", "locality", "cutoff",
    "dimers", "volumes", "nve", "probes",
]  # fmt: skip
"""Names of checks; ``probes`` is made by the command, which knows the file."""

Check = Callable[["Setting"], Findings]

CHECKS: dict[str, Check] = {
    "rotation": check_rotation,
    "reflection": check_reflection,
    "translation": check_translation,
    "permutation": check_permutation,
    "wrapping": check_wrapping,
    "forces": check_forces,
    "stress": check_stress,
    "supercell": check_supercell,
    "far_pieces": check_far_pieces,
    "locality": check_locality,
    "cutoff": check_cutoff,
    "dimers": check_dimers,
    "volumes": check_volumes,
    "nve": check_nve,
}


def run_checks(
    setting: Setting, names: Sequence[str], *, checks: dict[str, Check] = CHECKS
) -> Iterator[Outcome]:
    """Make checks, in the order of their names.

    Args:
        setting: What they work on.
        names: Which; one that is not among ``checks`` is passed over.
        checks: By name.
    """
    for name in names:
        if name in checks:
            setting.tell(name)
            yield run_check(name, checks[name], setting)


def run_check(name: str, check: Check, setting: Setting) -> Outcome:
    """Make one check; what its calculator raises becomes the reason of its failure."""
    began = time.perf_counter()
    try:
        findings = check(setting)
    except LeftOutError as error:
        return Outcome(name, "left out", reason=str(error))
    except Exception as error:  # noqa: BLE001 - any code's calculator may raise anything
        reason = (
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
        seconds = time.perf_counter() - began
        return Outcome(name, "FAILED", reason=reason, seconds=seconds)
    is_right = all(measured.is_right for measured in findings.measurements)
    seconds = time.perf_counter() - began
    return Outcome(name, "ok" if is_right else "FAILED", findings, seconds=seconds)
