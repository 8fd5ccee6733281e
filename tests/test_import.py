"""The public surface of the package."""

import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

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


def test_every_folder_of_the_package_is_installed():
    root = Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(path.parent.relative_to(root).parts)
        for path in (root / "mace_train").rglob("__init__.py")
    }
    missing = folders - set(settings["packages"])
    assert not missing, f"pyproject.toml does not install {sorted(missing)}"
