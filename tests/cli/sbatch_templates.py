"""What the files of ``scripts/slurm/`` are: the renderer's output under these headers."""

from mace_train.cli.slurm_job import SlurmJob, script_template

SINGLE_NODE = """\
Train on the GPUs of one node, and go on by itself when the time limit comes.

    sbatch scripts/slurm/train_single_node.sbatch
    sbatch --gpus-per-node=8 --ntasks-per-node=8 scripts/slurm/train_single_node.sbatch
    sbatch scripts/slurm/train_single_node.sbatch model=mace_mp_small data.train=my_shards/

What follows the file's name are overrides of the training command, as on your own machine.
Shards are made once, before: mace-prepare data.train=data/mptrj output=shards/mptrj
`mace-train submit=slurm ...` writes a file like this one for any run.
"""

MULTI_NODE = """\
Train on several nodes, and go on by itself when the time limit comes.

    sbatch scripts/slurm/train_multi_node.sbatch
    sbatch --nodes=16 scripts/slurm/train_multi_node.sbatch trainer.max_epochs=100

The folder that you submit from must be on a file system that all nodes see. Shards are made
once, before: mace-prepare data.train=data/mptrj output=shards/mptrj
The batch grows with the ranks (data.batch_size_per_rank=16, as published). To keep the
optimization the same on any number of GPUs, fix the global batch instead:
    sbatch scripts/slurm/train_multi_node.sbatch data.batch_size=512
`mace-train submit=slurm submit.nodes=8 ...` writes a file like this one for any run.
"""

TEMPLATES = {
    f"train_{kind}_node.sbatch": script_template(
        SlurmJob(nodes=nodes), header=header.splitlines()
    )
    for kind, nodes, header in (("single", 1, SINGLE_NODE), ("multi", 8, MULTI_NODE))
}
