"""What the environment says about the processes of a run, and what it should say."""

import pytest

from mace_train.training.launch import (
    check_launch,
    first_node,
    job_shape,
    rank_of,
    read_launch,
    starter_of,
)

SRUN = {
    "SLURM_JOB_ID": "90417",
    "SLURM_JOB_NAME": "train",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_TASKS_PER_NODE": "4(x2)",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}
BATCH_SCRIPT = {
    "SLURM_JOB_ID": "90417",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "8",
}


def without(environ, *names):
    return {name: value for name, value in environ.items() if name not in names}


def test_a_task_of_srun_knows_its_place():
    launch = read_launch(SRUN)
    assert (launch.starter, launch.rank, launch.local_rank, launch.node_rank) == (
        "srun",
        5,
        1,
        1,
    )
    assert (launch.num_ranks, launch.num_nodes, launch.ranks_per_node) == (8, 2, 4)
    assert (launch.address, launch.port) == ("gpu07", 15417)
    assert job_shape(SRUN) == (4, 2)
    assert rank_of(SRUN) == 5


def test_a_step_of_fewer_tasks_than_the_job_counts_its_own():
    step = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "gpu08",
    }
    assert job_shape(SRUN | step) == (2, 1)
    assert read_launch(SRUN | step).address == "gpu08"


def test_the_meeting_point_may_be_given():
    launch = read_launch(SRUN | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"})
    assert (launch.address, launch.port) == ("10.0.0.1", 1234)


def test_a_process_of_torchrun_knows_its_place_inside_a_slurm_job_too():
    inside = SRUN | {"SLURM_PROCID": "0"} | TORCHRUN
    for environ in (TORCHRUN, inside):
        launch = read_launch(environ)
        assert (launch.starter, launch.rank, launch.node_rank) == ("torchrun", 3, 1)
        assert (launch.address, launch.port) == ("node1", 29500)
        assert job_shape(environ) == (2, 2)
        assert rank_of(environ) == 3


@pytest.mark.parametrize(
    "environ",
    [
        {},
        BATCH_SCRIPT,
        SRUN | {"SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"},
        SRUN | {"SLURM_STEP_ID": "4294967290", "SLURM_PROCID": "0"},  # a shell of salloc
        {"LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"},  # Lightning
    ],
    ids=["plain", "batch script", "named bash", "salloc", "lightning"],
)
def test_neither_srun_nor_torchrun(environ):
    assert starter_of(environ) == "none"
    assert read_launch(environ) is None
    assert job_shape(environ) is None
    assert rank_of(environ) == 0


@pytest.mark.parametrize("name", ["interactive", "bash"])
def test_tasks_that_are_started_from_a_shell_of_salloc_are_ranks(name):
    inherited = {"SLURM_JOB_NAME": name, "SLURM_STEP_NUM_TASKS": "8"}
    for rank in range(8):
        task = SRUN | inherited | {"SLURM_PROCID": str(rank)}
        assert (starter_of(task), rank_of(task), job_shape(task)) == ("srun", rank, (4, 2))
        check_launch(task, launcher="srun")
    alone = SRUN | inherited | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}
    assert starter_of(alone) == "none"
    check_launch(alone)


def test_steps_that_run_at_once_in_one_job_meet_at_different_ports():
    steps = [read_launch(SRUN | {"SLURM_STEP_ID": str(step)}) for step in range(20)]
    assert len({launch.port for launch in steps}) == 20
    assert all(15000 <= launch.port < 25000 for launch in steps)
    next_job = read_launch(SRUN | {"SLURM_JOB_ID": "90418"})
    assert next_job.port not in {launch.port for launch in steps}


def test_a_child_of_lightning_and_another_machine_are_not_the_first_rank():
    assert rank_of({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}) == 1
    assert rank_of({"NODE_RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}) > 0
    assert rank_of({"NODE_RANK": "1"}) > 0
    assert rank_of(BATCH_SCRIPT | {"SLURM_PROCID": "2"}) == 2, "a task without its step"


@pytest.mark.parametrize(
    "name", ["SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_JOB_NODELIST"]
)
def test_a_missing_variable_of_srun_is_named_with_its_meaning(name):
    with pytest.raises(ValueError, match=rf"{name} \(.+\) is not set: pass srun's"):
        check_launch(without(SRUN, name))


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT"])
def test_a_missing_variable_of_torchrun_is_named_with_its_meaning(name):
    with pytest.raises(ValueError, match=rf"{name} \(.+\) is not set: start with torchrun"):
        check_launch(without(TORCHRUN, name))


def test_all_missing_variables_are_named_at_once():
    with pytest.raises(ValueError, match=r"SLURM_LOCALID \(.*SLURM_NODEID .* are not set"):
        check_launch(without(SRUN, "SLURM_LOCALID", "SLURM_NODEID"))


def test_the_number_of_tasks_on_a_node_needs_no_variable_of_its_own():
    check_launch(without(SRUN, "SLURM_TASKS_PER_NODE"), devices=4, num_nodes=2)


@pytest.mark.parametrize(
    "uneven", [{"SLURM_NTASKS": "7"}, {"SLURM_TASKS_PER_NODE": "5,3"}], ids=["7", "5,3"]
)
def test_unequal_nodes_are_refused(uneven):
    with pytest.raises(ValueError, match="--ntasks-per-node instead of --ntasks"):
        read_launch(SRUN | uneven)
    with pytest.raises(ValueError, match="the same number on each"):
        read_launch(TORCHRUN | {"WORLD_SIZE": "3"})


def test_processes_that_are_not_those_asked_for_are_refused_with_both_numbers():
    check_launch(SRUN)
    check_launch(SRUN, devices=4, num_nodes=2)
    with pytest.raises(ValueError, match=r"srun started 8 .* ask for 2: .*--nodes=1"):
        check_launch(SRUN, devices=2, num_nodes=1)
    with pytest.raises(ValueError, match=r"torchrun started 4 .* ask for 16: .*--nproc"):
        check_launch(TORCHRUN, devices=8)


def test_the_launcher_that_is_asked_for_must_have_been_there():
    check_launch(SRUN, launcher="srun")
    check_launch(TORCHRUN, launcher="torchrun")
    with pytest.raises(ValueError, match=r"SLURM_STEP_ID .* `srun mace-train"):
        check_launch({}, launcher="srun")
    with pytest.raises(ValueError, match=r"RANK .* `torchrun --nproc-per-node"):
        check_launch({}, launcher="torchrun")
    with pytest.raises(ValueError, match=r"launcher=srun, but torchrun started"):
        check_launch(TORCHRUN, launcher="srun")


def test_a_batch_script_of_several_tasks_must_call_srun():
    with pytest.raises(ValueError, match=r"8 tasks, but SLURM_STEP_ID .* `srun mace-train"):
        check_launch(BATCH_SCRIPT)
    check_launch(BATCH_SCRIPT | {"SLURM_JOB_NAME": "interactive"})
    check_launch(BATCH_SCRIPT | {"SLURM_NTASKS": "1"})


def test_several_machines_without_a_launcher_need_a_meeting_point():
    with pytest.raises(ValueError, match=r"MASTER_ADDR \(address .*NODE_RANK"):
        check_launch({"MASTER_PORT": "1"}, num_nodes=2)
    given = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "NODE_RANK": "1"}
    check_launch(given, num_nodes=2)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu1", "gpu1"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[3-7,9]", "gpu3"),
        ("gpu[03],cpu[1-2]", "gpu03"),
        ("a[1-2]b[7-9],x", "a1b7"),
    ],
)
def test_the_first_node_of_a_list(nodes, first):
    assert first_node(nodes) == first
