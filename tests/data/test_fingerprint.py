"""Fingerprints differ with the files, the settings and the code, and with nothing else."""

import os

import pytest

from mace_train.data import fingerprint as module
from mace_train.data.fingerprint import fingerprint


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "my.extxyz"
    path.write_text("1\n\nH 0 0 0\n")
    return path


def test_the_same_is_the_same(path):
    assert fingerprint([path], {"a": 1, "b": 2}) == fingerprint([path], {"b": 2, "a": 1})
    assert fingerprint([path], {}).startswith("my-")


def test_files_settings_and_code_count(path, tmp_path, monkeypatch):
    other = tmp_path / "other.extxyz"
    other.touch()
    names = [
        fingerprint([path], {}),
        fingerprint([path, other], {}),
        fingerprint([path], {"stride": 2}),
    ]
    os.utime(path, ns=(0, 1))
    names.append(fingerprint([path], {}))
    monkeypatch.setattr(module, "__version__", "99")
    names.append(fingerprint([path], {}))
    module._code.cache_clear()
    monkeypatch.setattr(module, "_code", lambda: "other code")
    names.append(fingerprint([path], {}))
    assert len(set(names)) == len(names)
