import pickle
import struct

import numpy as np
import pytest
import torch

from mace_train.checkpoints.inert_pickle import Name, Record, read_inert_pickle
from mace_train.checkpoints.official_modules import (
    irreps_of,
    may_stand,
    number_of,
    read_modules,
)
from mace_train.checkpoints.torch_archive import TorchArchive

MODEL = "mace.modules.models.ScaleShiftMACE"
LIST = "torch.nn.modules.container.ModuleList"


def module(kind: str, children: dict | None = None, **attributes) -> Record:
    return Record(kind, (), {"_modules": children or {}, **attributes})


def irreps(*parts: tuple[int, int, int]) -> Record:
    entries = tuple(
        Record(
            "e3nn.o3._irreps._MulIr",
            ((m, Record("e3nn.o3._irreps.Irrep", ((degree, p),))),),
        )
        for m, degree, p in parts
    )
    return Record("e3nn.o3._irreps.Irreps", (entries,))


def numpy_scalar(code: str, data: bytes, order: str = "<", core: str = "core") -> Record:
    kind = Record(
        "numpy.dtype", (code, False, True), (3, order, None, None, None, -1, -1, 0)
    )
    return Record(f"numpy.{core}.multiarray.scalar", (kind, data))


def test_modules_are_listed_by_path():
    root = module(MODEL, {"readouts": module(LIST, {"0": module(LIST), "1": None})})
    assert set(read_modules(root)) == {"", "readouts", "readouts.0"}


def test_only_names_of_a_model_may_stand():
    assert may_stand(MODEL)
    assert may_stand("numpy.core.multiarray.scalar")
    assert may_stand("numpy._core.multiarray.scalar")
    for name in (
        "os.system",
        "macely.x",
        "torch.load",
        "torch.nn.parallel.x",
        "numpy.load",
        "numpy.core.multiarray.scalarx",
        "builtins.eval",
    ):
        assert not may_stand(name)


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (
            {"model": 1, "optimizer": 2},
            "dict with the keys.*model.*optimizer.*architecture",
        ),
        ([1], "where a module should stand"),
        (
            module("mace.modules.models.AtomicDipolesMACE"),
            "AtomicDipolesMACE.*not supported",
        ),
        (module("mace.modules.extensions.MACELES"), "MACELES.*not supported"),
        (Record(MODEL), "where a module should stand"),
        (module(MODEL, {"x": 3}), r"where a module should stand \(x\)"),
        (module(MODEL, {"les": module("les.Les")}), "its part les is a les.Les"),
        (module(MODEL, use_so3=True), "use_so3=True is not supported"),
        (module(MODEL, apply_cutoff=False), "apply_cutoff=False is not supported"),
        (module(MODEL, edge_irreps=irreps((1, 0, 1))), "edge_irreps is not supported"),
        (
            module(MODEL, {"a": module(LIST, cueq_config=Record("mace.Cueq"))}),
            "cueq_config=mace.Cueq of a is not supported",
        ),
        (
            module(
                MODEL,
                {
                    "act": module(
                        "e3nn.math._normalize_activation.normalize2mom", f=Name("t.tanh")
                    )
                },
            ),
            "activation t.tanh of act is not supported",
        ),
        (
            module(MODEL, {"gate": module("e3nn.nn._activation.Activation")}),
            r"activation None of gate\.acts\.0 is not supported",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_ours_does_not_compute_is_refused_by_name(root, message):
    with pytest.raises(ValueError, match=message):
        read_modules(root)


def test_a_module_inside_itself_is_refused():
    root = module(MODEL)
    root.state["_modules"]["again"] = Record(LIST, (), root.state)
    with pytest.raises(ValueError, match="more than"):
        read_modules(root)


def test_modules_that_double_at_each_level_are_refused():
    inner = module(LIST)
    for _ in range(40):
        inner = module(LIST, {"a": inner, "b": inner})
    with pytest.raises(ValueError, match="more than"):
        read_modules(module(MODEL, {"x": inner}))


def test_irreps_are_read_from_objects_and_from_text():
    expected = [(16, 0, 1), (8, 1, -1)]
    assert irreps_of(irreps(*expected)) == expected
    assert irreps_of("16x0e+8x1o") == expected
    assert irreps_of(" 16x0e + 8x1o ") == expected


@pytest.mark.parametrize(
    "value", ["16x0e+", "spam", "", 3, None, Record("x"), Record("x", (1,))]
)
def test_irreps_of_another_form_are_refused(value):
    with pytest.raises(ValueError, match="irreps in an unknown form"):
        irreps_of(value)


def test_a_value_nested_too_deep_to_print_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="irreps in an unknown form"):
        irreps_of(value)


@pytest.fixture
def archive(tmp_path):
    torch.save(torch.tensor(9.5), tmp_path / "x.pt")
    with TorchArchive(tmp_path / "x.pt") as opened:
        yield opened


def test_numbers_are_read_from_python_numpy_and_torch(archive):
    assert number_of(9, archive=archive) == 9
    assert number_of(9.7, archive=archive) == 9.7
    for core in ("core", "_core"):
        scalar = numpy_scalar("f8", struct.pack("<d", 9.7), core=core)
        assert number_of(scalar, archive=archive) == 9.7
    assert number_of(numpy_scalar("i8", struct.pack("<q", 9)), archive=archive) == 9
    record = archive.load(is_allowed=lambda name: False)
    assert number_of(record, archive=archive) == 9.5


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        "9.7",
        numpy_scalar("f8", b"short"),
        numpy_scalar("f8", struct.pack(">d", 9.7), order=">"),
        numpy_scalar("O8", b"12345678"),
        Record("numpy.core.multiarray.scalar"),
        Record("numpy.core.multiarray.scalar", (1, b"x")),
    ],
    ids=repr,
)
def test_numbers_of_another_form_are_refused(archive, value):
    with pytest.raises(ValueError, match="where a number should stand"):
        number_of(value, archive=archive)


def test_a_pickled_numpy_float_is_read(archive):
    record = read_inert_pickle(
        pickle.dumps(np.float64(9.7), 2),
        is_allowed=lambda name: may_stand(name) or name == "_codecs.encode",
    )
    assert number_of(record, archive=archive) == 9.7
