import numpy as np
import pytest
from small_crystals import datamodule_of, make_frame, small_model, without

from mace_train.calculator import MACECalculator
from mace_train.finetuning.force_evidence import check_forces
from mace_train.training.parent_model import Parent


@pytest.fixture
def parent():
    return small_model((3, 8))


def graphs_with(tmp_path, parent, factor, noise=0.0):
    """Frames whose forces are the parent's times a factor."""
    random = np.random.default_rng(0)
    frames = [make_frame(i) for i in range(6)]
    for atoms in frames:
        copied = atoms.copy()
        copied.calc = MACECalculator(parent)
        forces = copied.get_forces()
        more = random.normal(scale=noise * np.abs(forces).mean(), size=forces.shape)
        atoms.arrays["forces"] = factor * forces + more
    module = datamodule_of(tmp_path, frames, valid_fraction=0.0, r_max=parent.r_max)
    module.use_parent(Parent(parent.elements), r_max=parent.r_max)
    module.setup()
    return module.graphs(module.data.sets["train"])


@pytest.mark.parametrize("factor", [-1.0, -0.3])
def test_gradients_are_refused_with_the_cure(tmp_path, parent, factor):
    with pytest.raises(ValueError, match="multiply them by -1"):
        check_forces(parent, graphs_with(tmp_path, parent, factor, noise=0.5))


def test_forces_of_the_right_sign_pass_in_silence(tmp_path, parent, caplog):
    check_forces(parent, graphs_with(tmp_path, parent, 1.0, noise=2.0))
    assert "forces of your frames" not in caplog.text


@pytest.mark.parametrize("factor", [23.06, 1 / 27.2])
def test_forces_that_seem_of_another_unit_are_told(tmp_path, parent, caplog, factor):
    check_forces(parent, graphs_with(tmp_path, parent, factor))
    assert f"{factor:.3g} times those of the parent" in caplog.text
    assert "data.units.energy" in caplog.text


def test_frames_without_forces_say_nothing(tmp_path, parent):
    frames = [without(make_frame(i), "forces") for i in range(3)]
    module = datamodule_of(tmp_path, frames, valid_fraction=0.0, r_max=parent.r_max)
    module.use_parent(Parent(parent.elements), r_max=parent.r_max)
    module.setup()
    check_forces(parent, module.graphs(module.data.sets["train"]))
