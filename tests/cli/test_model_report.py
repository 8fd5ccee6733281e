import json

from mace_train.checkpoints.model_file import load_model, read_metadata
from mace_train.cli.config import compose
from mace_train.cli.run_train import run


def test_the_model_file_is_that_of_the_best_epoch_and_results_are_its_errors(
    tiny_run, tmp_path
):
    results = run(compose("train", [*tiny_run, "trainer.max_epochs=3"]))
    folder = tmp_path / "run"
    record = read_metadata(folder / "model.safetensors")
    best = load_model(folder / "checkpoints" / "best.ckpt").state_dict()
    written = load_model(folder / "model.safetensors").state_dict()
    assert all((written[name] == best[name]).all() for name in best)
    assert record["global_batch_size"] == 4
    assert record["world_size"] == 1
    assert json.loads((folder / "results.json").read_text()) == results
