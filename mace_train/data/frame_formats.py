"""A reader for each form of files of frames."""

from __future__ import annotations

from mace_train.data.ase_database import AseDatabaseFormat
from mace_train.data.ase_files import AseFormat
from mace_train.data.extxyz import ExtxyzFormat
from mace_train.data.frame_source import Form, FrameFormat
from mace_train.data.mptrj_json import MptrjJsonFormat

FRAME_FORMATS: dict[Form, FrameFormat] = {
    "extxyz": ExtxyzFormat(),
    "mptrj_json": MptrjJsonFormat(),
    "ase_database": AseDatabaseFormat(),
    "ase_file": AseFormat(),
}
