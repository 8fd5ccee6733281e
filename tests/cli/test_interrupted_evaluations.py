"""Real processes that are killed or asked to end in mid-way, and the command again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from small_crystals import make_frame, small_model, write_frames

from mace_train.checkpoints.model_file import save_model

pytestmark = pytest.mark.slow

NUM_FRAMES = 24
OUTPUTS = ("results.json", "errors.json")

# The command with small parts, and a pause before every batch so that it can be stopped.
SLOWED = """
import time
from mace_train.cli import evaluated
from mace_train.training.potentials import ModelPotential
from mace_train.training.prediction_plan import cut_by_edges

evaluated.model_parts = lambda edges: cut_by_edges(edges, max_edges=None, max_frames=3)
predict = ModelPotential._predict

def slow(self, graph):
    time.sleep({pause})
    return predict(self, graph)

ModelPotential._predict = slow
from mace_train.cli.evaluate import main
main()
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Overrides of an evaluation in float32, where another cut would be seen."""
    folder = tmp_path_factory.mktemp("inputs")
    save_model(folder / "model.safetensors", small_model().float(), metadata={})
    frames = [make_frame(i, molecule=i % 5 == 4) for i in range(NUM_FRAMES)]
    return [
        f"checkpoint={folder / 'model.safetensors'}",
        f"data.test={write_frames(folder / 'x.xyz', frames)}",
        f"data.cache_dir={folder / 'cache'}",
        "data.max_edges=250",
        "figures=false",
    ]


def start(words, *, pause=0.0):
    return subprocess.Popen(
        [sys.executable, "-c", SLOWED.format(pause=pause), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


def wait_for_parts(folder, process, count):
    while process.poll() is None and len(list(folder.glob("parts/part-*.npz"))) < count:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


@pytest.fixture(scope="module")
def whole(asked, tmp_path_factory):
    """Uninterrupted evaluations by the form of their predictions."""
    pytest.importorskip("pyarrow")
    folders = {}
    for form in ("extxyz", "parquet"):
        folders[form] = tmp_path_factory.mktemp(form)
        words = [*asked, f"output={folders[form]}", f"predictions={form}", "workers=1"]
        code, _, errors = finish(start(words))
        assert code == 0, errors
    return folders


@pytest.mark.parametrize(
    ("number", "code", "form", "workers", "message"),
    [
        (signal.SIGKILL, -9, "extxyz", 1, ""),
        (signal.SIGKILL, -9, "parquet", 2, ""),
        (signal.SIGTERM, 143, "parquet", 2, "terminated (SIGTERM); the same command goes"),
        (signal.SIGUSR1, 138, "extxyz", 1, "SIGUSR1"),
        (signal.SIGINT, 130, "extxyz", 2, "interrupted; the same command goes on after"),
    ],
)
def test_the_same_command_gives_what_an_uninterrupted_one_does(
    asked, whole, tmp_path, number, code, form, workers, message
):
    words = [*asked, f"output={tmp_path}", f"predictions={form}", f"workers={workers}"]
    process = start(words, pause=0.3)
    wait_for_parts(tmp_path, process, 2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    ended, _, errors = finish(process)
    assert ended == code, errors
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "results.json").exists()

    code, output, errors = finish(start(words))
    assert code == 0, errors
    assert "frames are predicted already" in output
    for name in (*OUTPUTS, f"predictions.{form}"):
        assert (tmp_path / name).read_bytes() == (whole[form] / name).read_bytes(), name
    assert not (tmp_path / "parts").exists()


def test_a_second_process_in_the_same_folder_is_refused(asked, tmp_path):
    words = [*asked, f"output={tmp_path}", "workers=1"]
    first = start(words, pause=60.0)
    try:
        while not (tmp_path / "parts" / "plan.json").exists():
            assert first.poll() is None, first.communicate()
            time.sleep(0.05)
        code, _, errors = finish(start(words))
        assert code == 1
        assert "is being written by another process" in errors
        assert "output=" in errors
    finally:
        first.kill()
        first.communicate()


def test_parts_without_their_settings_are_not_trusted(asked, tmp_path):
    words = [*asked, f"output={tmp_path}", "workers=1"]
    process = start(words, pause=0.3)
    wait_for_parts(tmp_path, process, 2)
    process.kill()
    process.communicate()
    (tmp_path / "parts" / "plan.json").unlink()
    code, output, errors = finish(start(words))
    assert code == 0, errors
    assert "predicted already" not in output
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["test"]["num_frames"] == NUM_FRAMES
