import pytest
import torch
from ase.calculators.emt import EMT

from mace_train.cli.given_calculator import chosen_device, chosen_head, make_calculator
from mace_train.cli.problems import ConfigError


def made(**group):
    return make_calculator(group, command="mace-check")


def test_any_ase_calculator_is_made_with_its_arguments():
    assert isinstance(made(_target_="ase.calculators.emt.EMT"), EMT)
    lj = made(_target_="ase.calculators.lj.LennardJones", epsilon=0.3)
    assert lj.parameters["epsilon"] == 0.3


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("ase.calculators.emt.NoSuch", "calculator: Error locating target"),
        ("ase.Atoms", "makes a Atoms, which is no ASE calculator"),
    ],
)
def test_what_cannot_be_made_is_a_mistake_of_the_config(target, said):
    with pytest.raises(ConfigError, match=said):
        made(_target_=target)


def test_a_device_that_is_not_there_is_named():
    assert chosen_device("cpu", command="mace-check") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device: 'tpu' cannot be used here"):
        chosen_device("tpu", command="mace-check")


def test_a_head_is_chosen_or_the_heads_are_listed():
    assert chosen_head(["Default"], None, command="mace-check") == "Default"
    assert chosen_head(["pbe", "scan"], "scan", command="mace-check") == "scan"
    with pytest.raises(ConfigError, match=r"several; choose one of pbe \| scan"):
        chosen_head(["pbe", "scan"], None, command="mace-check")
    with pytest.raises(ConfigError, match=r"no head 'skan'.*did you mean scan"):
        chosen_head(["pbe", "scan"], "skan", command="mace-check")
