"""All forms of files that ``mace-export`` writes, by name."""

from __future__ import annotations

from mace_train.exports.export_format import ExportFormat
from mace_train.exports.lammps import LAMMPS
from mace_train.exports.mace_torch import MACE_TORCH
from mace_train.exports.torch_export import TORCH_EXPORT

FORMATS: dict[str, ExportFormat] = {
    form.name: form for form in (MACE_TORCH, TORCH_EXPORT, LAMMPS)
}
