import json

import pytest

from mace_train.cli.command import Interrupted
from mace_train.cli.run_committee import run_committee


def config(tmp_path, **data):
    return {
        "name": "water",
        "run_dir": str(tmp_path / "run"),
        "seed": 3,
        "data": {"seed": 3, "test_fraction": 0.0, **data},
        "finetune": {"committee": 3},
    }


class Trainer:
    """Takes note of the configs it is given, and tells errors."""

    def __init__(self):
        self.configs, self.began = [], set()

    def __call__(self, config, *, began):
        self.configs.append(config)
        self.began.add(began)
        error = 0.1 * len(self.configs)
        numbers = {"energy_per_atom_rmse": None, "forces_rmse": error, "stress_rmse": None}
        return {"train": {}, "valid": numbers, "test": dict(numbers, forces_rmse=1.0)}


def test_members_have_folders_and_seeds_of_their_own(tmp_path):
    trainer = Trainer()
    given = config(tmp_path)
    run_committee(given, trainer)
    assert [one["seed"] for one in trainer.configs] == [3, 4, 5]
    assert [one["data"]["seed"] for one in trainer.configs] == [3, 4, 5]
    folders = [str(tmp_path / "run" / f"member-{n}") for n in range(3)]
    assert [one["run_dir"] for one in trainer.configs] == folders
    assert [one["name"] for one in trainer.configs][2] == "water-member-2"
    assert all(one["finetune"]["committee"] == 1 for one in trainer.configs)
    assert given == config(tmp_path)
    assert len(trainer.began) == 1  # one time limit for all


def test_results_tell_of_each_member_and_of_their_mean(tmp_path, caplog):
    caplog.set_level("INFO", logger="mace_train")
    results = run_committee(config(tmp_path), Trainer())
    assert results["committee"]["valid"] == {"forces_rmse": pytest.approx(0.2)}
    assert results["committee"]["test"] == {"forces_rmse": 1.0}
    written = json.loads((tmp_path / "run" / "results.json").read_text())
    assert written == results
    assert "200.00" in caplog.text
    assert "member-*/model.safetensors" in caplog.text


def test_a_test_that_others_have_learned_is_refused(tmp_path):
    trainer = Trainer()
    with pytest.raises(ValueError, match=r"data\.test=FILE"):
        run_committee(config(tmp_path, test_fraction=0.1), trainer)
    assert not trainer.configs


def test_several_processes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"2 processes is refused.*trainer\.devices=1"):
        run_committee(config(tmp_path), Trainer(), num_ranks=2)


def status(tmp_path):
    return json.loads((tmp_path / "run" / "status.json").read_text())


def test_a_job_reads_how_the_committee_ended(tmp_path):
    run_committee(config(tmp_path), Trainer())
    assert status(tmp_path)["state"] == "finished"


@pytest.mark.parametrize(
    ("end", "state"),
    [(Interrupted("time limit"), "interrupted"), (ValueError("bad frame"), "failed")],
)
def test_a_member_that_ends_early_ends_the_committee(tmp_path, end, state):
    def trainer(config, *, began):
        del config, began
        raise end

    with pytest.raises(type(end)):
        run_committee(config(tmp_path), trainer)
    assert status(tmp_path)["state"] == state
    assert "member-0" in status(tmp_path)["reason"]
