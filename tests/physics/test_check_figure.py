import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from mace_train.physics.check_figure import draw_checks
from mace_train.physics.outcome import Curve, Findings, Measurement, Outcome
from mace_train.physics.suite import run_checks

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import Good, Hollow, NotANumber, setting_of


@pytest.mark.parametrize("calculator", [Good(), Hollow(), NotANumber()])
def test_a_panel_is_drawn_for_each_check_with_curves(tmp_path, calculator):
    setting = setting_of(calculator, nve_steps=20)
    outcomes = list(run_checks(setting, ["cutoff", "dimers", "volumes", "nve"]))
    assert draw_checks(tmp_path / "new" / "checks.png", outcomes, title="a model")
    image = imread(tmp_path / "new" / "checks.png")
    assert image.shape[0] > 500
    assert image[..., :3].std() > 0.05
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["checks.png"]


def test_without_curves_there_is_no_file(tmp_path):
    found = Findings((Measurement("energy", 0.0, "eV", 1.0),))
    outcomes = [Outcome("rotation", "ok", found), Outcome("nve", "left out", reason="-")]
    assert not draw_checks(tmp_path / "checks.png", outcomes, title="")
    assert not list(tmp_path.iterdir())


def test_one_curve_is_one_panel(tmp_path):
    x = np.linspace(0, 1, 5)
    found = Findings((Measurement("drift", 0.0, "", 1.0),), (Curve("Cu", x, x),))
    assert draw_checks(tmp_path / "a.png", [Outcome("nve", "ok", found)], title="")
    assert imread(tmp_path / "a.png").shape[1] < 900
