"""What a finished fine-tuning tells besides its errors: before and after, table and figure.

Floor 5.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mace_train.finetuning.before_after_figure import draw_before_after
from mace_train.finetuning.before_after_table import before_after_table, verdict, warnings

if TYPE_CHECKING:
    from pathlib import Path

    from mace_train.finetuning.checks_before_after import ChecksBeforeAfter
    from mace_train.finetuning.compared import BeforeAfter

logger = logging.getLogger(__name__)


def write_comparison(
    folder: Path,
    compared: BeforeAfter,
    *,
    checks: ChecksBeforeAfter | None,
    checkpoint: Path,
    figures: bool = True,
) -> dict[str, Any]:
    """Log the tables with their verdict and warnings, and draw ``before_after.png``.

    Args:
        folder: Of the run.
        compared: Errors of the parent and of the fine-tuned model.
        checks: Of the physics; None: there are none.
        checkpoint: File of the fine-tuned model, named where a check fails.
        figures: Whether to draw.

    Returns:
        What results.json holds under ``fine_tuning``.
    """
    lines, told = verdict(compared), warnings(compared)
    logger.info("before and after fine-tuning\n\n%s\n", before_after_table(compared))
    for line in (*compared.notes, *lines):
        logger.info("%s", line)
    if checks is not None:
        logger.info("physics before and after fine-tuning\n\n%s\n", checks.table())
        failed = checks.warning(checkpoint)
        told = [*told, failed] if failed else told
    for line in told:
        logger.warning("%s", line)
    if figures:
        draw_before_after(folder / "before_after.png", compared)
    before_after = {**compared.as_dict(), "verdict": lines, "warnings": told}
    return {
        "before_after": before_after,
        "checks": None if checks is None else checks.as_dict(),
    }
