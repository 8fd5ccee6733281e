import ast

from mace_train.cli.source_modules import SourceModule, read_module


def test_names_are_found_without_importing(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(
        "raise RuntimeError\nfrom mace_train.constraints import Fraction\n"
        "Rate = Fraction | None\nclass Loss: ...\n"
        "if TYPE_CHECKING:\n    from mace_train.constraints import Interval as Ends\n"
    )
    module = SourceModule(path)
    found = module.find("Loss")
    assert found is not None
    assert isinstance(found[1], ast.ClassDef)
    assert ast.unparse(module.find("Rate")[1]) == "Fraction | None"
    assert module.find("Ends")[1].name == "Interval"
    assert module.find("Nothing") is None


def test_a_name_is_followed_into_the_module_it_comes_from():
    module = read_module("mace_train.training.loss")
    assert module is not None
    found = module.find("PositiveFloat")
    assert found is not None
    assert found[0] is read_module("mace_train.constraints")


def test_what_is_not_there_is_none():
    assert read_module("mace_train.nowhere") is None
    assert read_module("no_such_package.module") is None
