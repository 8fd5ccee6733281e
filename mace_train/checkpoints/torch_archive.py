"""Open a file of ``torch.save`` as plain data and tensors, without unpickling it.

Such a file is a zip archive: one pickle that describes the object, and one uncompressed
entry for each tensor's storage. Sizes, offsets and strides come from the file, so each is
checked against the bytes that are really there before a tensor looks at them.
"""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mace_train.checkpoints.inert_pickle import (
    Name,
    Record,
    Reference,
    UnsafeFileError,
    read_inert_pickle,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPE_BY_STORAGE = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_MAX_AXES = 8
_UNREADABLE = (zipfile.BadZipFile, struct.error, OSError, EOFError, RuntimeError)


class TorchArchive:
    """A file of ``torch.save``, opened for reading.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not a complete archive of ``torch.save``.
        UnsafeFileError: If its entries are compressed or claim more bytes than the file
            has.
    """

    def __init__(self, path: Path) -> None:
        self._size_of_file = path.stat().st_size
        self._bytes_given = 0
        self._storages: dict[str, bytearray] = {}  # what torch looks at must be writable
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
            raise ValueError("it is truncated or not a zip archive") from error
        try:
            self._open()
        except ValueError:
            self._zip.close()
            raise

    def _open(self) -> None:
        names = self._zip.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            raise ValueError(
                "it is a TorchScript export (as made for LAMMPS), which holds code: give "
                "the file that it was made from"
            )
        self._check_entries()
        pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is a zip archive, but not one of torch.save")
        self._folder = pickles[0].removesuffix("data.pkl")
        self.pickle = self._read("data.pkl")
        if self._has("byteorder") and self._read("byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def require_whole(self) -> None:
        """Compare every entry with its checksum, which ``torch.load`` does not look at.

        60 MB take 20 ms where the file is in memory.

        Raises:
            ValueError: If a byte of an entry is not what was written; it names the entry.
        """
        try:
            damaged = self._zip.testzip()
            # One bit here makes an entry a folder, for which torch.load gives memory as
            # it finds it.
            folders = [e.filename for e in self._zip.infolist() if e.external_attr]
            damaged = damaged or next(iter(folders), None)
        except _UNREADABLE as error:
            raise ValueError(f"an entry is damaged: {error}") from error
        if damaged is not None:
            raise ValueError(f"its entry {damaged[:50]!r} is damaged")

    def load(self, *, is_allowed: Callable[[str], bool]) -> Any:
        """Read the pickle; see `read_inert_pickle`. The names that tensors need may stand.

        Raises:
            UnsafeFileError: If the pickle holds a name that neither this class nor
                ``is_allowed`` knows.
        """
        return read_inert_pickle(
            self.pickle, is_allowed=lambda name: name in _TENSOR_NAMES or is_allowed(name)
        )

    def tensor(self, record: Any) -> Tensor:
        """Rebuild a tensor or parameter from its record, as a contiguous copy.

        Raises:
            UnsafeFileError: If the record asks for bytes outside of its storage.
            ValueError: If it is not the record of a plain tensor.
        """
        while isinstance(record, Record) and record.name in _PARAMETERS and record.args:
            record = record.args[0]
        match record:
            case Record(
                name="torch._utils._rebuild_tensor_v2",
                args=(Reference() as storage, offset, tuple(size), tuple(stride), *_),
            ):
                dtype, data = self._storage(storage)
                itemsize = dtype.itemsize
                _check_view(len(data) // itemsize, offset=offset, size=size, stride=stride)
            case _:
                kind = record.name if isinstance(record, Record) else type(record).__name__
                raise ValueError(f"it holds a tensor of an unknown kind: {kind}")
        self._bytes_given += math.prod(size) * itemsize
        if self._bytes_given > 2 * self._size_of_file:
            raise UnsafeFileError("its tensors are larger than the file they come from")
        if 0 in size:
            return torch.zeros(size, dtype=dtype)
        # A bool's byte may be anything in a broken file: read numbers, then convert.
        number = torch.uint8 if dtype is torch.bool else dtype
        view = torch.frombuffer(data, dtype=number).as_strided(size, stride, offset)
        return view.clone(memory_format=torch.contiguous_format).to(dtype)

    def _storage(self, reference: Reference) -> tuple[torch.dtype, bytearray]:
        match reference.id:
            case ("storage", Name(kind), str(key), str(), int(count)) if (
                kind in DTYPE_BY_STORAGE
            ):
                dtype = DTYPE_BY_STORAGE[kind]
            case _:
                raise UnsafeFileError("it refers to a storage in an unknown way")
        if key not in self._storages:
            self._storages[key] = bytearray(self._read(f"data/{key}"))
        data = self._storages[key]
        if len(data) != count * dtype.itemsize:
            raise UnsafeFileError(
                f"its storage {key[:20]!r} should hold {count} numbers of type {dtype}, "
                f"but has {len(data)} bytes"
            )
        return dtype, data

    def _check_entries(self) -> None:
        entries = self._zip.infolist()
        # torch.save compresses nothing, so no entry can be larger than the file it lies in.
        if any(e.compress_type != zipfile.ZIP_STORED or e.flag_bits & 1 for e in entries):
            raise UnsafeFileError("its entries are compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > self._size_of_file:
            raise UnsafeFileError("its entries claim more bytes than the file has")
        if len({entry.filename for entry in entries}) != len(entries):
            raise UnsafeFileError("two of its entries have the same name")

    def _has(self, name: str) -> bool:
        return f"{self._folder}{name}" in self._zip.namelist()

    def _read(self, name: str) -> bytes:
        try:
            return self._zip.read(f"{self._folder}{name}")
        except KeyError as error:
            raise ValueError(f"its entry {name[:50]!r} is missing") from error
        except _UNREADABLE as error:
            raise ValueError(f"its entry {name[:50]!r} is damaged") from error


_PARAMETERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
}
_TENSOR_NAMES = {
    *DTYPE_BY_STORAGE,
    *_PARAMETERS,
    "torch._utils._rebuild_tensor_v2",
    "torch.Size",
    "collections.OrderedDict",
    "__builtin__.set",
    "builtins.set",
    "_codecs.encode",
}


def _check_view(
    available: int, *, offset: Any, size: tuple[Any, ...], stride: tuple[Any, ...]
) -> None:
    """Refuse a view that leaves its storage, or that repeats elements (a memory bomb)."""
    numbers = (offset, *size, *stride)
    if any(type(n) is not int or not 0 <= n < 2**31 for n in numbers):
        raise UnsafeFileError("a tensor has an offset, size or stride that is not a count")
    if len(size) != len(stride) or len(size) > _MAX_AXES:
        raise UnsafeFileError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    if 0 in size:
        return
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if last >= available:
        raise UnsafeFileError(
            f"a tensor of size {size} with strides {stride} and offset {offset} leaves its "
            f"storage of {available} numbers"
        )
    if math.prod(size) > available:
        raise UnsafeFileError(f"a tensor of size {size} is larger than its storage")
