"""What keys are called elsewhere: in mace-torch's command line, in papers, in habit.

Floor 6. A user who types one of these is told ours.
"""

from __future__ import annotations

OURS = {
    "batch": "data.batch_size",
    "checkpoints_dir": "run_dir",
    "clip_grad": "recipe.clip_norm",
    "cutoff": "model.r_max",
    "default_dtype": "dtype",
    "device": "trainer.accelerator",
    "epochs": "recipe.max_epochs",
    "foundation_model": "init_from",
    "gpus": "trainer.devices",
    "l_max": "model.max_ell",
    "learning_rate": "recipe.lr",
    "lmax": "model.max_ell",
    "log_dir": "run_dir",
    "max_l": "model.hidden_irreps",
    "max_num_epochs": "recipe.max_epochs",
    "mlp_irreps": "model.readout_hidden_irreps",
    "model_dir": "run_dir",
    "num_channels": "model.hidden_irreps",
    "num_cutoff_basis": "model.cutoff_p",
    "num_epochs": "recipe.max_epochs",
    "num_layers": "model.num_interactions",
    "optimizer": "optim",
    "output_dir": "run_dir",
    "precision": "dtype",
    "pt_train_file": "data.replay",
    "r_cut": "model.r_max",
    "rcut": "model.r_max",
    "restart_latest": "resume",
    "results_dir": "run_dir",
    "rmax": "model.r_max",
    "scheduler": "schedule",
    "start_swa": "stage_two.start_epoch",
    "start_stage_two": "stage_two.start_epoch",
    "swa_energy_weight": "stage_two.energy_weight",
    "swa_forces_weight": "stage_two.forces_weight",
    "swa_lr": "stage_two.lr",
    "swa_stress_weight": "stage_two.stress_weight",
    "test_file": "data.test",
    "train_file": "data.train",
    "valid_file": "data.valid",
    "wandb": "logger",
    "work_dir": "run_dir",
}
"""Last part of a key, in small letters: our key."""


def our_name(key: str) -> str | None:
    """Our key for one that is called so elsewhere.

    >>> our_name("optim.learning_rate")
    'recipe.lr'
    >>> our_name("recipe.lr") is None
    True
    """
    return OURS.get(key.rpartition(".")[2].lower().replace("-", "_"))
