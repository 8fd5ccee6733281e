"""The public surface of the package."""

import subprocess
import sys

import pytest

import mace_train


@pytest.mark.parametrize("name", mace_train.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(mace_train, name) is not None


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'ase', 'hydra'} & set(sys.modules)"
    code = f"import mace_train, sys; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mace_train.nothing  # noqa: B018
