"""The text of ``--help``: groups, the keys used most, and command lines to copy.

Floor 6, the standard library only, so that help is there at once. Groups are read from the
config folders, the user's own included.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Traversable

_TRAIN = """\
mace-train: train a MACE interatomic potential

    mace-train [group=choice ...] [key=value ...]

With no argument it trains model=mace_tiny on the bundled sample. Examples:

    mace-train data=extxyz data.train=my.xyz trainer.max_epochs=50
    mace-train model=mace_mp_medium data=mptrj trainer=ddp
    mace-train model=mace_mp_medium data=mptrj submit=slurm submit.nodes=8
    mace-train experiment=finetune data.train=my.xyz init_from=runs/NAME/model.safetensors

Groups (group=choice):
{groups}

Keys used most (key=value):
  name                     auto: model, data and a hash of the configuration
  run_dir                  everything the run writes; default runs/NAME
  seed, dtype              0; float32 | float64
  resume                   auto | never | PATH of a checkpoint
  estimate                 true: print memory, largest batch and hours; train nothing
  init_from                model file or checkpoint whose weights are the start
  finetune.method          with experiment=finetune: auto | full | freeze | lora | replay;
                           finetune.e0s, .elements, .trainable, .committee, .parent_head
  data.replay, .guard      frames of the old kind: to be learned further, or to watch
  data.train, .valid, .test        a file, a folder, a glob or a list [a.xyz,b.xyz], or sets
                           '[{{path: a.xyz, weight: 5}}, {{path: b.xyz, head: scan}}]'
  data.mixing              size: every frame once an epoch | even: as many of every set
  data.valid_fraction, .test_fraction, .split (auto | group | blocks | random)
  data.batch_size, .batch_size_per_rank   frames in the global batch, or on each rank
  data.elements            auto | mp0 | [1,8] or [H,O]
  data.e0s                 least_squares | isolated_atoms | mp0 | PATH
  data.energy_key, .forces_key, .stress_key, .virials_key, .units.energy, .max_force
  model.hidden_irreps, .max_ell, .correlation, .r_max, .num_interactions
  loss.energy_weight, .forces_weight, .stress_weight
  optim.lr, .weight_decay, .amsgrad, .clip_norm;   ema.decay
  stage_two.start_epoch, .lr;   early_stopping.patience
  trainer.max_epochs, .devices, .accelerator, .num_threads
  submit=slurm             writes an sbatch file instead of training; submit.nodes,
                           .gpus_per_node, .time, .partition, .account, .send
"""

_PREPARE = """\
mace-prepare: files of frames to HDF5 shards, checked and ready to train on

    mace-prepare data.train=FILES output=FOLDER [key=value ...]

Examples:

    mace-prepare data.train=my.xyz output=shards
    mace-prepare data.train=data/mptrj/training_data.zip output=shards/mptrj workers=8
    mace-prepare data.train=MPtrj_2022.9_full.json output=shards/mptrj
    mace-prepare 'data.train=runs/**/vasprun.xml' output=shards
    mace-prepare 'data.train=[a.xyz,b.xyz]' output=shards data.energy_key=dft_energy

Keys (key=value):
  data.train               a file, a folder, a glob or a list: extended XYZ (.gz .xz .bz2),
                           archives of it (.zip .tar .tar.gz), MPtrj's JSON, ASE databases
                           (.db .aselmdb) and whatever else ase.io reads
  output                   folder of the shards
  workers                  processes; auto: one a core
  frames_per_shard, r_max  10000; [5.0,6.0], cutoffs in Å for which edges are counted
  data.energy_key, .forces_key, .stress_key, .virials_key, .group_key   auto
  data.units.energy, .units.length, .max_force
  bad_frames               refuse | leave_out frames that cannot be used; both list them
The same command goes on where it was stopped.
"""

_EVALUATE = """\
mace-evaluate: predictions of a trained model, or of any ASE calculator, and its errors

    mace-evaluate checkpoint=PATH data.test=FILES [key=value ...]

Examples:

    mace-evaluate checkpoint=runs/NAME/model.safetensors data.test=my.xyz
    mace-evaluate checkpoint=runs/NAME/checkpoints/last.ckpt data.test=my.xyz
    mace-evaluate checkpoint=mace.model 'data.test=mofs/*.cif' predictions=parquet
    mace-evaluate calculator._target_=ase.calculators.emt.EMT data.test=my.xyz

Keys (key=value):
  checkpoint               model file, official .model file or training checkpoint; a glob
                           or a list is a committee: mean and standard deviation
  calculator._target_      class of an ASE calculator; its arguments: calculator.NAME=VALUE
  data.test                a file, a folder, a glob or a list, with or without labels
  output                   folder of the results; auto: runs/evaluate-MODEL-DATA
  predictions              extxyz | parquet | none; in the order of the input
  node_energies            true: each atom's share of the energy too
  resume                   auto | never: begin anew
  bad_frames               refuse | leave_out frames that cannot be used
  workers                  processes; auto: one a core, one beside a GPU or a calculator
  dtype, device, head      auto; auto; null: the only head
  data.max_edges           most neighbors at once; auto: as memory allows; no result depends
                           on it, nor on data.batch_size, the most frames at once
  data.energy_key, .forces_key, .stress_key, .virials_key, .units.energy, .max_force
The same command goes on where it was stopped.
"""

_EXPORT = """\
mace-export: a model as a file that other programs use, compared before it is kept

    mace-export checkpoint=PATH format=FORMAT [key=value ...]

Examples:

    mace-export checkpoint=runs/NAME/model.safetensors format=mace_torch
    mace-export checkpoint=runs/NAME format=mace_torch dtype=float64 output=my.model
    mace-export checkpoint=runs/NAME format=lammps head=NAME

Formats:
  mace_torch               .model of mace-torch, for its calculator, LAMMPS, TorchSim,
                           janus-core and others; needs mace-torch beside mace-train:
                           pip install 'mace-torch==0.3.16' (brings e3nn 0.4.4)
  torch_export             .pt2 that runs with torch alone, without this package
  lammps                   .pkl for LAMMPS (ML-IAP), whose Python needs this package

Keys (key=value):
  checkpoint               model file, run folder, training checkpoint or official .model
  output                   PATH or a folder; auto: MODEL-FORMAT beside the checkpoint
  head                     null: all heads | NAME: that head alone
  dtype                    auto: that of the checkpoint | float32 | float64
  overwrite                false | true
  level_of_theory          text that travels with the file, e.g. 'level_of_theory="PBE+U"'
"""

_CHECK = """\
mace-check: is a trained model, or any ASE calculator, physical?

    mace-check checkpoint=PATH [key=value ...]

Examples:

    mace-check checkpoint=runs/NAME/model.safetensors
    mace-check checkpoint=runs/NAME/model.safetensors dtype=float64 'elements=[Si,O]'
    mace-check checkpoint=mace.model structure=POSCAR 'checks=[dimers,nve]'
    mace-check calculator._target_=ase.calculators.emt.EMT 'elements=[Cu,Au]' r_max=6.0

Checks: rotation reflection translation permutation wrapping, forces and stress against
differences of energies, supercell far_pieces (extensivity), locality, cutoff, dimers (walls
down to 0.5 Å), volumes (equation of state), nve (drift), probes (frames of the model file).
A table, checks.json and checks.png; exit code 1 if one fails.

Keys (key=value):
  checkpoint               model file, official .model file or training checkpoint
  calculator._target_      class of an ASE calculator; its arguments: calculator.NAME=VALUE
  r_max, num_interactions  what such a calculator does not say; a model brings its own
  structure                a file; null: probe frames of the model file, else built crystals
  elements                 auto: those of the structures | all | [Si,O]; pairs of the dimers
  checks, skip             all | one | a list [dimers,nve]
  output                   folder of the results; auto: runs/check-MODEL
  dtype, device, head      auto; auto; null: the only head
  nve_steps, temperature   200; 300 K
  limits.NAME              null: by dtype; mace-check --cfg job lists them
"""

_FLAGS = """
Flags:
  --config-dir DIR   add your own groups (DIR/model/mine.yaml: model=mine)
  --cfg job          print the configuration (--resolve: with its references followed)
  -m                 one run for each of several values: optim.lr=0.01,0.005
  --info defaults    where each part of the configuration comes from
  --version, --hydra-help
"""

_TEXTS = {
    "train": _TRAIN,
    "prepare": _PREPARE,
    "evaluate": _EVALUATE,
    "export": _EXPORT,
    "check": _CHECK,
}


def help_text(command: str, words: Sequence[str] = ()) -> str:
    """Help of a command.

    Args:
        command: ``train``, ``prepare`` or ``evaluate``.
        words: The command line, which may name a folder of further groups.
    """
    folders: list[Traversable] = [resources.files("mace_train.configs")]
    for flag, value in zip(words, [*words[1:], ""]):
        if flag in ("--config-dir", "-cd") and Path(value).is_dir():
            folders.append(Path(value))
        if flag.startswith("--config-dir=") and Path(flag[13:]).is_dir():
            folders.append(Path(flag[13:]))
    lines = [
        f"  {group:<12} {' | '.join(names)}" for group, names in _groups(folders).items()
    ]
    return _TEXTS[command].format(groups="\n".join(lines)) + _FLAGS


def _groups(folders: Sequence[Traversable]) -> dict[str, list[str]]:
    """Options of each config group."""
    options: dict[str, set[str]] = {}
    for folder in folders:
        for group in folder.iterdir():
            if group.is_dir() and group.name not in ("hydra", "recipe", "__pycache__"):
                names = {
                    item.name[:-5]
                    for item in group.iterdir()
                    if item.name.endswith(".yaml")
                }
                options.setdefault(group.name, set()).update(names)
    return {group: sorted(options[group]) for group in sorted(options)}
