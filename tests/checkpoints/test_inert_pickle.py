import collections
import io
import os
import pickle
import pickletools

import pytest
import torch
from hostile_files import Call, Global, dump

from mace_train.checkpoints.inert_pickle import (
    Name,
    Record,
    Reference,
    UnsafeFileError,
    read_inert_pickle,
)


def read(data: bytes, *allowed: str):
    return read_inert_pickle(data, is_allowed=lambda name: name in allowed)


class _Reduces:
    def __init__(self, *reduction):
        self.reduction = reduction

    def __reduce__(self):
        return self.reduction


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1,
        2**70,
        -(2**2100),
        0.1,
        "Å",
        [1, [2, "x"]],
        {"a": {"b": (1, 2, 3, 4)}, 2: ()},
        ((1,), (1, 2), (1, 2, 3)),
        [list(range(2000))],
        {str(i): i for i in range(2000)},
    ],
    ids=repr,
)
def test_plain_values_are_read_as_pickle_reads_them(value):
    assert read(pickle.dumps(value, 2)) == value


def test_shared_values_stay_shared():
    shared = [1]
    first, second = read(pickle.dumps([shared, shared], 2))
    assert first is second


def test_bytes_sets_and_ordered_dicts_are_made_by_hand():
    value = [b"\x00\xff", {3}, collections.OrderedDict(a=1), torch.Size([2, 3])]
    names = (
        "_codecs.encode",
        "__builtin__.set",
        "collections.OrderedDict",
        "torch.Size",
    )
    assert read(pickle.dumps(value, 2), *names) == [b"\x00\xff", [3], {"a": 1}, (2, 3)]


def test_objects_become_records_of_their_class_and_state():
    data = dump([Call("mace.modules.models", "MACE", 1, "x"), Global("mace", "tools")])
    record, name = read(data, "mace.modules.models.MACE", "mace.tools")
    assert (record.name, record.args) == ("mace.modules.models.MACE", (1, "x"))
    assert name == Name("mace.tools")


def test_the_state_of_an_object_is_recorded_and_not_set():
    data = pickle.dumps(torch.nn.Identity(), 2)
    names = (
        "torch.nn.modules.linear.Identity",
        "collections.OrderedDict",
        "__builtin__.set",
    )
    record = read(data, *names)
    assert isinstance(record, Record)
    assert record.state["training"] is True


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch OWNED",), f"{os.name}.system"),
        (eval, ("open('OWNED', 'w')",), "__builtin__.eval"),
        (exec, ("open('OWNED', 'w')",), "__builtin__.exec"),
        (getattr, (os, "system"), "__builtin__.getattr"),
        (torch.load, ("other.pt",), "torch.serialization.load"),
        (torch.hub.load, ("user/repo", "entry"), "torch.hub.load"),
        (pickle.loads, (b"...",), "_pickle.loads"),
        (io.open, ("OWNED", "w"), "io.open"),
        (torch.jit.load, ("x",), "torch.jit._serialization.load"),
        (__import__, ("os",), "__builtin__.__import__"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_call_of_a_dangerous_function_is_refused_by_name(
    function, arguments, name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    values = [a for a in arguments if isinstance(a, str)]
    data = dump([1, Call(*name.rsplit(".", 1), *values)])
    with pytest.raises(UnsafeFileError, match=name.replace(".", r"\.")):
        read(data, "mace.modules.models.ScaleShiftMACE")
    assert not (tmp_path / "OWNED").exists()


def test_a_reduce_made_by_pickle_itself_is_refused(tmp_path):
    data = pickle.dumps(_Reduces(os.system, (f"touch {tmp_path / 'OWNED'}",)), 2)
    with pytest.raises(UnsafeFileError, match=r"posix\.system|nt\.system"):
        read(data)
    assert not (tmp_path / "OWNED").exists()


def test_even_an_allowed_function_is_never_called(tmp_path):
    data = dump(Call("os", "system", f"touch {tmp_path / 'OWNED'}"))
    record = read(data, "os.system")
    assert record.name == "os.system"
    assert not (tmp_path / "OWNED").exists()


def test_a_call_of_what_a_call_gave_is_refused():
    data = b"\x80\x02cmace\nget\n)R)R."
    with pytest.raises(UnsafeFileError, match="calls something that is not a name"):
        read(data, "mace.get")


@pytest.mark.parametrize("name", ["__builtin__\nset", "collections\nOrderedDict"])
def test_the_state_of_a_name_cannot_be_set(name):
    data = b"\x80\x02c" + name.encode() + b"\n}b."
    with pytest.raises(UnsafeFileError, match="sets the state of a Name"):
        read(data, name.replace("\n", "."))


@pytest.mark.parametrize(
    ("data", "instruction"),
    [
        (b"\x80\x02(i__main__\nx\n.", "INST"),
        (b"\x80\x02(No.", "OBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"\x80\x02P0\n.", "PERSID"),
        (b"\x80\x02I1\n.", "INT"),
        (pickle.dumps(bytearray(b"x"), 5), "FRAME"),
    ],
)
def test_other_instructions_are_refused_by_name(data, instruction):
    with pytest.raises(UnsafeFileError, match=instruction):
        read(data)


def test_a_huge_memo_index_costs_no_memory():
    assert read(b"\x80\x02Nr\xff\xff\xff\x7fh\x00.".replace(b"h\x00", b"")) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x02",
        b"\x80\x02N",
        b"\x80\x02h\x07.",
        b"\x80\x02NN.",
        b"\x80\x02\x85.",
        b"\x80\x02R.",
        b"\x80\x02t.",
        b"\x80\x02(u.",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7f\x00.",
        b"\x80\x02cmace",
        b"\xff\xfe",
    ],
)
def test_a_broken_pickle_is_a_value_error(data):
    with pytest.raises(ValueError):  # noqa: PT011 - one of many messages
        read(data)


def test_every_prefix_and_every_changed_byte_of_a_pickle_is_read_or_a_value_error():
    value = {"heads": ["Default"], "r_max": 6.0, "irreps": ((16, (0, 1)), (16, (1, -1)))}
    data = dump([value, Call("mace", "x", 1), b"\x01"])
    names = ("mace.x", "_codecs.encode")
    for end in range(len(data)):
        with pytest.raises(ValueError):  # noqa: PT011
            read(data[:end], *names)
    for place in range(len(data)):
        for byte in (0, 0x28, 0x52, 0x62, 0x81, 0xFF):
            try:
                read(data[:place] + bytes([byte]) + data[place + 1 :], *names)
            except ValueError:
                continue


def test_keys_that_could_exhaust_the_stack_when_hashed_are_refused():
    nested = b"\x80\x02})" + b"\x85" * 20_000 + b"Ns."
    with pytest.raises(UnsafeFileError, match="dict key of type tuple"):
        read(nested)
    as_list = b"\x80\x02}]Ns."
    with pytest.raises(UnsafeFileError, match="dict key of type list"):
        read(as_list)


def test_a_mark_cannot_be_taken_for_a_value():
    for data in (b"\x80\x02(.", b"\x80\x02(\x85.", b"\x80\x02(]a.", b"\x80\x02(Q."):
        with pytest.raises(ValueError):  # noqa: PT011
            read(data)


def test_a_pickle_of_endless_instructions_is_cut_off():
    with pytest.raises(UnsafeFileError, match="instructions"):
        read(b"\x80\x02" + b"N0" * 100_001 + b"N.")


def test_items_go_into_lists_and_dicts_only():
    with pytest.raises(UnsafeFileError, match="not a list"):
        read(b"\x80\x02}Na.")
    with pytest.raises(UnsafeFileError, match="not a dict"):
        read(b"\x80\x02]NNs.")


def test_persistent_ids_become_references():
    data = b"\x80\x02X\x01\x00\x00\x00kQ."
    reference = read(data)
    assert isinstance(reference, Reference)
    assert reference.id == "k"
    assert [opcode.name for opcode, _, _ in pickletools.genops(data)][-2] == "BINPERSID"
