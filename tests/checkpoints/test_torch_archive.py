import pickle
import struct
import tracemalloc
import zipfile

import pytest
import torch
from hostile_files import Call, Global, Storage, dump, write_archive

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.torch_archive import TorchArchive

EIGHT = struct.pack("<8d", *range(8))


def tensor_call(
    *, kind="DoubleStorage", key="0", count=8, offset=0, size=(8,), stride=(1,), where="cpu"
):
    storage = Storage("storage", Global("torch", kind), key, where, count)
    return Call(
        "torch._utils", "_rebuild_tensor_v2", storage, offset, size, stride, False, {}
    )


def read_tensor(tmp_path, call, storages=None):
    path = write_archive(tmp_path / "x.model", dump(call), storages or {"0": EIGHT})
    with TorchArchive(path) as archive:
        return archive.tensor(archive.load(is_allowed=lambda name: False))


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 4), (1, 1, 5)])
def test_tensors_of_torch_save_are_read_bit_for_bit(tmp_path, dtype, shape):
    torch.manual_seed(1)
    tensor = (torch.randn(shape) * 3).to(dtype)
    torch.save(tensor, tmp_path / "x.pt")
    with TorchArchive(tmp_path / "x.pt") as archive:
        read = archive.tensor(archive.load(is_allowed=lambda name: False))
    assert read.dtype == dtype
    assert torch.equal(read, tensor)


def test_views_of_one_storage_are_read_as_what_they_show(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    views = [whole[1:3, ::2], whole.T, whole[:, 5], torch.nn.Parameter(whole)]
    torch.save(views, tmp_path / "x.pt")
    with TorchArchive(tmp_path / "x.pt") as archive:
        records = archive.load(is_allowed=lambda name: False)
        for record, view in zip(records[:3], views):
            read = archive.tensor(record)
            assert torch.equal(read, view)
            assert read.is_contiguous()


def test_a_tensor_that_was_on_a_gpu_is_read_on_the_cpu(tmp_path):
    read = read_tensor(tmp_path, tensor_call(where="cuda:7"))
    assert read.tolist() == list(range(8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"offset": True},
        {"offset": 1.0},
        {"size": (9,)},
        {"size": (-1,)},
        {"size": (2**40,), "stride": (0,)},
        {"size": (8,), "stride": (0,), "count": 8, "offset": 8},
        {"size": (3, 4), "stride": (1, 1)},
        {"size": (2, 4), "stride": (5, 1)},
        {"size": (2,), "stride": (-1,)},
        {"size": (8,), "stride": (2,)},
        {"size": (8,), "stride": ()},
        {"size": (8,), "stride": (1, 1)},
        {"size": ("8",)},
        {"size": (2**80,), "stride": (1,)},
        {"size": (1,) * 70, "stride": (1,) * 70},
        {"size": (0, 2**62), "stride": (1, 1)},
        {"count": 7},
        {"count": 2**40, "size": (2**40,)},
        {"kind": "FloatStorage"},
    ],
    ids=repr,
)
def test_a_tensor_that_leaves_its_storage_is_refused(tmp_path, wrong):
    with pytest.raises(UnsafeFileError):
        read_tensor(tmp_path, tensor_call(**wrong))


def test_a_tensor_that_repeats_its_storage_is_refused_as_a_memory_bomb(tmp_path):
    with pytest.raises(UnsafeFileError, match="larger than its storage"):
        read_tensor(tmp_path, tensor_call(size=(1000, 1000), stride=(0, 0)))


def test_many_copies_of_a_large_storage_are_refused_as_a_memory_bomb(tmp_path):
    storage = bytes(80_000)
    call = tensor_call(count=10_000, size=(10_000,))
    path = write_archive(tmp_path / "x.model", dump([call] * 10), {"0": storage})
    with TorchArchive(path) as archive:
        records = archive.load(is_allowed=lambda name: False)
        for record in records[:2]:
            archive.tensor(record)
        with pytest.raises(UnsafeFileError, match="larger than the file"):
            archive.tensor(records[2])


def test_many_views_of_a_large_storage_do_not_copy_it(tmp_path):
    call = tensor_call(count=1_000_000, size=(1,), stride=(1,))
    path = write_archive(tmp_path / "x.model", dump([call] * 2), {"0": bytes(8_000_000)})
    with TorchArchive(path) as archive:
        record, _ = archive.load(is_allowed=lambda name: False)
        archive.tensor(record)
        tracemalloc.start()
        archive.tensor(record)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    "identity",
    [
        ("storage", Global("torch", "DoubleStorage"), "0", "cpu"),
        ("storage", "DoubleStorage", "0", "cpu", 8),
        ("storage", Global("collections", "OrderedDict"), "0", "cpu", 8),
        ("module", Global("torch", "DoubleStorage"), "0", "cpu", 8),
        ("storage", Global("torch", "DoubleStorage"), 0, "cpu", 8),
        ("storage", Global("torch", "DoubleStorage"), "0", "cpu", "8"),
        ("storage", Global("torch", "DoubleStorage"), Storage("0"), "cpu", 8),
        (Storage("storage", Global("torch", "DoubleStorage"), "0", "cpu", 8),),
    ],
)
def test_a_storage_that_is_named_in_another_way_is_refused(tmp_path, identity):
    arguments = (Storage(*identity), 0, (8,), (1,), False, {})
    with pytest.raises(UnsafeFileError, match="unknown way"):
        read_tensor(tmp_path, Call("torch._utils", "_rebuild_tensor_v2", *arguments))


@pytest.mark.parametrize("key", ["1", "../data.pkl", "/etc/passwd", "0/../0", ""])
def test_a_storage_is_looked_up_in_the_archive_only(tmp_path, key):
    with pytest.raises(ValueError, match=r"missing|should hold"):
        read_tensor(tmp_path, tensor_call(key=key))


@pytest.mark.parametrize(
    "call",
    [
        Call("torch._utils", "_rebuild_tensor_v2"),
        Call("torch._utils", "_rebuild_tensor_v2", 1, 2, 3, 4),
        Call("torch._utils", "_rebuild_parameter", 1),
        Call("torch._utils", "_rebuild_parameter"),
        [1.0],
        None,
    ],
)
def test_what_is_no_tensor_is_a_value_error(tmp_path, call):
    with pytest.raises(ValueError, match="tensor of an unknown kind"):
        read_tensor(tmp_path, call)


def test_a_sparse_tensor_is_refused_by_name(tmp_path):
    torch.save(torch.eye(3).to_sparse(), tmp_path / "x.pt")
    with (
        TorchArchive(tmp_path / "x.pt") as archive,
        pytest.raises(UnsafeFileError, match=r"torch\._utils\._rebuild_sparse_tensor"),
    ):
        archive.load(is_allowed=lambda name: False)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.model"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(None, 2))
        archive.writestr("archive/data/0", bytes(50_000_000))
    with pytest.raises(UnsafeFileError, match="compressed"):
        TorchArchive(path)


def test_an_entry_that_claims_more_than_the_file_has_is_refused(tmp_path):
    path = write_archive(tmp_path / "x.model", pickle.dumps(None, 2), {"0": EIGHT})
    data = bytearray(path.read_bytes())
    place = data.rindex(b"archive/data/0") - 46  # its record in the central directory
    for field in (20, 24):
        data[place + field : place + field + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(UnsafeFileError, match="more bytes than the file"):
        TorchArchive(path)


def test_entries_that_share_a_name_are_refused(tmp_path):
    path = tmp_path / "x.model"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(None, 2))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", pickle.dumps(1, 2))
    with pytest.raises(UnsafeFileError, match="same name"):
        TorchArchive(path)


def test_other_zip_files_are_named_as_such(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "x")
    with pytest.raises(ValueError, match=r"not one of torch\.save"):
        TorchArchive(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", "x")
        archive.writestr("model/data.pkl", "x")
    with pytest.raises(ValueError, match="TorchScript"):
        TorchArchive(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", "x")
        archive.writestr("model/byteorder", "big")
    with pytest.raises(ValueError, match="big-endian"):
        TorchArchive(path)


def test_a_damaged_storage_is_noticed_by_its_checksum(tmp_path):
    path = write_archive(tmp_path / "x.model", dump(tensor_call()), {"0": EIGHT})
    data = bytearray(path.read_bytes())
    data[data.index(EIGHT) + 20] ^= 1
    path.write_bytes(data)
    with TorchArchive(path) as archive, pytest.raises(ValueError, match="damaged"):
        archive.tensor(archive.load(is_allowed=lambda name: False))


def test_every_truncation_and_many_changed_bytes_give_a_value_error_or_the_tensor(tmp_path):
    path = write_archive(tmp_path / "x.model", dump(tensor_call()), {"0": EIGHT})
    good = path.read_bytes()
    changed = [good[:end] for end in range(0, len(good), 7)]
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 0x81
        changed.append(bytes(data))
    for data in changed:
        path.write_bytes(data)
        try:
            with TorchArchive(path) as archive:
                read = archive.tensor(archive.load(is_allowed=lambda name: False))
        except ValueError:
            continue
        assert read.shape == (8,)
