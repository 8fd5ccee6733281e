import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from copper_runs import copper, run_in
from PIL import Image

from mace_train.simulation.figures import draw_run
from mace_train.simulation.schedule import TemperatureSchedule

SCHEDULE = TemperatureSchedule(["300:0.1", "nve:0.1"], timestep=2.0)


def colors(path) -> int:
    with Image.open(path) as image:
        return len(image.convert("RGB").getcolors(1 << 24))


def test_the_figure_of_a_crystal_is_drawn(tmp_path):
    run_in(tmp_path, copper(), SCHEDULE).run()
    draw_run(tmp_path / "deep" / "run.png", tmp_path)
    assert colors(tmp_path / "deep" / "run.png") > 50
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_molecule_has_a_figure_without_a_distribution(tmp_path):
    molecule = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    molecule.calc = EMT()
    run_in(tmp_path, molecule, SCHEDULE).run()
    draw_run(tmp_path / "run.png", tmp_path)
    assert colors(tmp_path / "run.png") > 50


def test_a_run_without_a_frame_cannot_be_drawn(tmp_path):
    run_in(tmp_path, copper(), SCHEDULE).run()
    (tmp_path / "trajectory.extxyz").write_text("")
    with pytest.raises(
        ValueError, match=r"trajectory\.extxyz has no frame yet: run longer"
    ):
        draw_run(tmp_path / "run.png", tmp_path)
