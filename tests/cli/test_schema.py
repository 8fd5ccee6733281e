import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mace_train.cli.schema import check_group, read_target, root_schema
from mace_train.cli.values import Group, Union

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Source of a module `example` that would fail if it were imported."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "example_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")

    def write(source, name="settings"):
        (package / f"{name}.py").write_text("raise RuntimeError('imported')\n" + source)
        return f"example_package.{name}"

    yield write
    from mace_train.cli import schema, source_modules

    schema.read_target.cache_clear()
    source_modules.read_module.cache_clear()


def kinds(group):
    return {name: str(kind) for name, kind in group.fields.items()}


def test_a_signature_is_read_without_importing_it(module):
    path = module(
        "class Loss:\n"
        "    def __init__(self, *, kind: Literal['a', 'b'], weight: float = 1.0,\n"
        "                 layers: Sequence[int] | None = None, name: 'str' = ''): ...\n"
    )
    group = read_target(f"{path}.Loss")
    assert kinds(group) == {
        "kind": "a | b",
        "weight": "a number",
        "layers": "a list (each an integer) | null",
        "name": "a text",
    }
    assert group.optional == {"weight", "layers", "name"}


def test_a_dataclass_is_read_by_its_fields_and_those_it_inherits(module):
    path = module(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Base:\n"
        "    r_max: float\n    known: ClassVar[int] = 3\n"
        "@dataclass(frozen=True)\nclass Derived(Base):\n    seed: int = 0\n"
    )
    group = read_target(f"{path}.Derived")
    assert kinds(group) == {"r_max": "a number", "seed": "an integer"}
    assert group.optional == {"seed"}


def test_an_inherited_constructor_is_found_in_another_module(module):
    module("class Loss:\n    def __init__(self, delta: float): ...\n", name="base")
    path = module("from example_package.base import Loss\nclass Huber(Loss):\n    pass\n")
    assert kinds(read_target(f"{path}.Huber")) == {"delta": "a number"}


def test_intervals_and_aliases_are_followed_through_imports(module):
    path = module(
        "from mace_train.constraints import Fraction\n"
        "Rate = Fraction | None\n"
        "class Loss:\n"
        "    def __init__(self, rate: Rate, pair: tuple[Fraction, Fraction]): ...\n"
    )
    assert kinds(read_target(f"{path}.Loss")) == {
        "rate": "a number >= 0 and < 1 | null",
        "pair": "a list (2 values, each a number >= 0 and < 1)",
    }


def test_what_is_not_there_is_no_target():
    assert read_target("mace_train.nowhere.Loss") is None
    assert read_target("mace_train.constraints.Nothing") is None
    assert read_target("Loss") is None


def test_unknown_missing_and_wrong_keys_are_all_named(module):
    path = module("class Loss:\n    def __init__(self, delta: float, kind: str): ...\n")
    values = {"loss": {"_target_": f"{path}.Loss", "delta": "x", "kinds": 1}}
    root = Group({"loss": Group(any_target=True)})
    _, problems = check_group("", values, root)
    assert [problem.key for problem in problems] == [
        "loss.delta",
        "loss.kinds",
        "loss.kind",
    ]
    assert "did you mean kind?" in problems[1].message


def test_a_typed_dictionary_is_a_group_of_its_own():
    units = root_schema("prepare").fields["data"].fields["units"]
    assert isinstance(units, Group)
    _, problems = check_group("data.units", {"energy": "kcal", "length": "nm"}, units)
    assert [str(problem) for problem in problems] == [
        "data.units.energy: 'kcal' is not allowed; allowed: eV | meV | kcal/mol | kJ/mol | "
        "hartree | rydberg; did you mean kcal/mol?"
    ]


@pytest.fixture
def sets(module):
    """A key that may be a path or a list of paths and of typed dictionaries."""
    path = module(
        "from mace_train.constraints import PositiveFloat\n"
        "class Base(TypedDict):\n    path: str | list[str]\n"
        "class One(Base, total=False):\n    head: str\n    weight: PositiveFloat\n"
        "class Data:\n    def __init__(self, train: str | list[str | One] | None): ...\n"
    )
    return read_target(f"{path}.Data")


def test_a_typed_dictionary_may_stand_in_a_list(sets):
    items = ["a.xyz", {"path": ["b.xyz"], "weight": 5}, {"path": "c.xyz", "head": "x"}]
    converted, problems = check_group("data", {"train": items}, sets)
    assert problems == []
    assert converted == {"train": items}
    assert type(converted["train"][1]["weight"]) is float


def test_one_typed_dictionary_alone_is_a_list_of_one(sets):
    converted, problems = check_group("data", {"train": {"path": "a.xyz"}}, sets)
    assert (converted, problems) == ({"train": [{"path": "a.xyz"}]}, [])
    _, problems = check_group("data", {"train": {"path": "a.xyz", "weights": 1}}, sets)
    assert [problem.key for problem in problems] == ["data.train.weights"]
    assert "did you mean weight?" in problems[0].message


def test_all_that_is_wrong_with_the_items_of_a_list_is_named(sets):
    items = [{"path": "a", "haed": "x"}, {"weight": -1}, 3]
    _, problems = check_group("data", {"train": items}, sets)
    assert [problem.key for problem in problems] == [
        "data.train[0].haed",
        "data.train[1].weight",
        "data.train[1].path",
        "data.train[2]",
    ]
    assert "allowed: a text | {path, head, weight}" in problems[-1].message


def test_a_mapping_of_any_words_is_checked_by_its_values(module):
    path = module("class Job:\n    def __init__(self, options: Mapping[str, int]): ...\n")
    group = read_target(f"{path}.Job")
    assert check_group("job", {"options": {"a": 1}}, group)[1] == []
    _, (problem,) = check_group("job", {"options": {"a": "x"}}, group)
    assert "allowed: {NAME: an integer, ...}" in problem.message


def read_with_defaults(path):
    values = yaml.safe_load(path.read_text())
    for parent in values.pop("defaults", []):
        if parent != "_self_":
            values = {**read_with_defaults(path.with_name(f"{parent}.yaml")), **values}
    return values


def _targets():
    for path in sorted(CONFIGS.glob("*/*.yaml")):
        if path.parent.name in ("hydra", "experiment", "recipe"):
            continue
        values = read_with_defaults(path)
        yield pytest.param(values, id=f"{path.parent.name}={path.stem}")
    train = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    for name, values in train.items():
        if isinstance(values, dict) and "_target_" in values:
            yield pytest.param(values, id=name)


TARGETS = list(_targets())


@pytest.mark.parametrize("values", TARGETS)
def test_the_keys_of_a_group_are_exactly_the_arguments_of_its_constructor(values):
    group = read_target(values["_target_"])
    assert group is not None, values["_target_"]
    assert set(values) - {"_target_"} == set(group.fields)


@pytest.mark.parametrize("values", TARGETS)
def test_every_argument_of_a_constructor_says_what_it_may_be(values):
    group = read_target(values["_target_"])
    vague = [
        n for n, k in group.fields.items() if isinstance(k, Union) and "anything" in str(k)
    ]
    assert vague == []


def test_reading_every_schema_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from mace_train.cli.config import compose\n"
        "compose('train')\n"
        "heavy = {'torch', 'lightning', 'ase', 'h5py', 'wandb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
