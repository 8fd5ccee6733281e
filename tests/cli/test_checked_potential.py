import sys
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from mace_train.checkpoints.model_file import save_model
from mace_train.checkpoints.probes import make_probes
from mace_train.cli.checked_potential import given_potential
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.graph import AtomicGraph

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import R_MAX, make_frame, small_model

EMT = "calculator._target_=ase.calculators.emt.EMT"


def given(*overrides):
    return given_potential(compose("check", list(overrides)))


@pytest.fixture
def model_file(tmp_path):
    """A model of Li and O with two probe frames."""
    model = small_model()
    frames = [make_frame(0), make_frame(1, molecule=True)]
    graphs = [
        AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=R_MAX)
        for atoms in frames
    ]
    path = tmp_path / "model.safetensors"
    save_model(path, model, metadata={}, probes=make_probes(model, graphs))
    return path


def test_a_model_file_brings_cutoff_layers_dtype_and_real_frames(model_file):
    found = given(f"checkpoint={model_file}")
    potential = found.potential
    assert (potential.r_max, potential.num_interactions) == (R_MAX, 2)
    assert potential.dtype == "float64"
    assert [atoms.get_chemical_formula() for atoms in found.structures] == ["Li2O2"] * 2
    assert found.structures[0].pbc.all()
    assert found.pairs == ((3, 3), (3, 8), (8, 8))
    assert "probe frames" in found.describe()
    assert not found.are_built
    assert given(f"checkpoint={model_file}", "dtype=float32").potential.dtype == "float32"


def test_without_probe_frames_crystals_are_built(tmp_path):
    save_model(tmp_path / "m.safetensors", small_model(), metadata={})
    found = given(f"checkpoint={tmp_path}/m.safetensors")
    assert found.are_built
    assert found.structures
    assert "built" in found.describe()


def test_a_user_s_file_gives_structures_and_elements(model_file, tmp_path):
    write(tmp_path / "my.xyz", Atoms("Li2", [[0, 0, 0], [2.6, 0, 0]]))
    found = given(f"checkpoint={model_file}", f"structure={tmp_path}/my.xyz")
    assert [atoms.get_chemical_formula() for atoms in found.structures] == ["Li2"]
    assert found.pairs == ((3, 3),)


@pytest.mark.parametrize(("elements", "count"), [("[O]", 1), ("[3,O]", 3), ("all", 3)])
def test_elements_are_symbols_numbers_or_all(model_file, elements, count):
    assert len(given(f"checkpoint={model_file}", f"elements={elements}").pairs) == count


def test_an_unknown_element_is_refused(model_file, tmp_path):
    with pytest.raises(
        ConfigError, match="elements: the model does not know Au; it knows Li, O"
    ):
        given(f"checkpoint={model_file}", "elements=[Au,O]")
    write(tmp_path / "gold.xyz", bulk("Au"))
    with pytest.raises(
        ValueError, match=r"gold.xyz holds Au, which the model does not know"
    ):
        given(f"checkpoint={model_file}", f"structure={tmp_path}/gold.xyz")


@pytest.mark.parametrize("text", ["", "hello\nworld\n", "0\n\n"])
def test_a_file_without_structure_is_refused(model_file, tmp_path, text):
    (tmp_path / "bad.xyz").write_text(text)
    with pytest.raises(
        ValueError, match=r"structure=.*bad.xyz (cannot be read|holds no atoms)"
    ):
        given(f"checkpoint={model_file}", f"structure={tmp_path}/bad.xyz")


def test_a_calculator_is_told_what_it_does_not_say(tmp_path):
    found = given(EMT, "elements=[Cu,Au]", "r_max=6", "num_interactions=1", "dtype=float64")
    assert found.potential.receptive_field == 6.0
    assert found.potential.dtype == "float64"
    assert len(found.pairs) == 3
    assert given(EMT, "elements=[Cu]").potential.dtype == "float32"
    write(tmp_path / "water.xyz", molecule("H2O"))
    assert len(given(EMT, f"structure={tmp_path}/water.xyz").pairs) == 3


def test_a_calculator_without_structure_and_elements_is_refused():
    with pytest.raises(ConfigError, match=r"structure=FILE, or elements=\[Si,O\]"):
        given(EMT)
    with pytest.raises(
        ConfigError, match="elements: a calculator does not say its elements"
    ):
        given(EMT, "elements=all")
