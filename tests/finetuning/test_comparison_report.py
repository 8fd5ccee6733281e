import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from small_crystals import make_frame, small_model

from mace_train.finetuning.checks_before_after import check_before_after
from mace_train.finetuning.comparison_report import write_comparison

sys.path.insert(0, str(Path(__file__).parent))
from compared_models import comparison, errors, row

GUARD = row("guard", errors(0.0, 0.0), errors(0.004, 0.012), origin="50 probe frames")
CHECKPOINT = Path("model.safetensors")


def written(folder, compared, *, checks=None, **options):
    return write_comparison(
        folder, compared, checks=checks, checkpoint=CHECKPOINT, **options
    )


def test_all_is_logged_drawn_and_returned_for_results_json(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    model = small_model()
    checks = check_before_after(model, model, [make_frame(0)], names=["rotation"])
    compared = comparison(row(), GUARD, notes=("of the numbers",))
    found = written(tmp_path, compared, checks=checks)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [one["set"] for one in found["before_after"]["sets"]] == ["valid", "guard"]
    assert found["before_after"]["verdict"][0].startswith("forces on your frames")
    assert found["before_after"]["warnings"] == []
    assert found["checks"]["checks"]["rotation"]["after"]["state"] == "ok"
    assert (tmp_path / "before_after.png").is_file()
    for text in ("after / before", "of the numbers", "210 -> 34 meV/Å", "rotation"):
        assert text in caplog.text
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


def test_what_is_wrong_is_a_warning(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    lost = replace(GUARD, after=errors(0.1, 0.3))
    found = written(tmp_path, comparison(row(), lost), figures=False)
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert found["before_after"]["warnings"] == [record.getMessage()]
    assert "largely lost" in record.getMessage()
    assert found["checks"] is None
    assert not list(tmp_path.iterdir())
