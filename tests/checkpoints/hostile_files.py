"""Pickles and archives of any content, to attack the readers with."""

import io
import pickle
import zipfile
from pathlib import Path


def write_archive(
    path: Path, content: bytes, storages: dict[str, bytes] | None = None
) -> Path:
    """Write a zip as ``torch.save`` does, with any pickle and storages."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return path


class Global:
    """Pickles as a global name that need not exist here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global name."""

    def __init__(self, module: str, name: str, *args: object) -> None:
        self.function, self.args = Global(module, name), args


class Storage:
    """Pickles as a persistent id."""

    def __init__(self, *identity: object) -> None:
        self.identity = identity


def dump(value: object) -> bytes:
    """Pickle plain values and the three classes above in protocol 2."""
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


class _Pickler(pickle._Pickler):  # the one written in Python, whose parts can be replaced
    def persistent_id(self, obj: object) -> object:
        return obj.identity if isinstance(obj, Storage) else None

    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)
