import pytest

from mace_train.cli.checks import SYMBOLS, irreps_problem
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError


def problem(*overrides, command="train"):
    with pytest.raises(ConfigError) as caught:
        compose(command, overrides)
    (only,) = caught.value.problems
    return str(only)


def test_symbols_are_those_of_ase():
    from ase.data import chemical_symbols

    assert tuple(chemical_symbols[1:]) == SYMBOLS


@pytest.mark.parametrize(
    "text", ["16x0e", "16x0e+16x1o", "128x0e + 128x1o + 128x2e", "0e+1o"]
)
def test_irreps_with_one_number_of_channels_are_right(text):
    assert irreps_problem(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("16x0e + 8x1o", "all multiplicities must be equal"),
        ("16x1o", "scalars are missing"),
        ("16x0", "cannot be read"),
        ("", "cannot be read"),
        ("16x0e+16x0e", "each irrep stands once"),
        ("0x0e", "at least 1"),
    ],
)
def test_irreps_that_make_no_model_are_refused(text, said):
    assert said in irreps_problem(text)


@pytest.mark.parametrize(
    ("override", "key", "said"),
    [
        ("model.hidden_irreps=16x0e+8x1o", "model.hidden_irreps", "multiplicities"),
        (
            "model.readout_hidden_irreps=16x0e+16x1o",
            "model.readout_hidden_irreps",
            "scalars only",
        ),
        ("model.max_ell=5", "model.max_ell", "an integer >= 0 and <= 4"),
        ("model.correlation=0", "model.correlation", "an integer >= 1 and <= 3"),
        ("data.valid_fraction=0.95", "data.valid_fraction", "a sum < 1"),
        ("data.batch_size=null", "data.batch_size", "neither is given"),
        ("stage_two.start_epoch=40", "stage_two.start_epoch", "trainer.max_epochs=30"),
        ("data.elements=[1,119]", "data.elements", "[119] are no elements"),
        ("data.elements=[H,Xx]", "data.elements", "['Xx'] are no elements"),
        ("data.elements=[1,H]", "data.elements", "different elements"),
        ("name=a/b", "name", "run_dir=FOLDER"),
        ("experiment=finetune data.train=sample", "init_from", "must be given"),
    ],
)
def test_values_that_do_not_fit_are_named_with_what_would(override, key, said):
    text = problem(*override.split())
    assert text.startswith(f"{key}: ")
    assert said in text


def test_a_loss_without_any_weight_is_refused():
    weights = [f"loss.{name}_weight=0" for name in ("energy", "forces", "stress")]
    assert "all weights are 0" in problem(*weights)


def test_two_batch_sizes_are_refused():
    text = problem("data.batch_size=8", "data.batch_size_per_rank=2")
    assert "both are given (8 and 2)" in text


def test_stress_from_two_labels_is_refused():
    assert "there is one stress" in problem("data.stress_key=s", "data.virials_key=v")


def test_labels_of_one_set_are_checked_too(tmp_path):
    for name in "ab":
        (tmp_path / name).touch()
    first = f"{{path: {tmp_path}/a, energy_key: E}}"
    text = problem(
        f"data.train=[{first},{{path: {tmp_path}/b,stress_key: s,virials_key: v}}]"
    )
    assert text.startswith("data.train[1].virials_key: 'v' and data.train[1].stress_key=s")
    text = problem(f"data.valid=[{{path: {tmp_path}/a, forces_key: ''}}]")
    assert text.startswith("data.valid[0].forces_key: '' is not allowed")


def test_an_evaluation_needs_a_checkpoint_or_a_calculator():
    text = problem("data.test=sample", command="evaluate")
    assert text.startswith("checkpoint: neither it nor a calculator is given")


def test_one_mistake_gives_one_message():
    assert problem("recipe.lr=-1") == "recipe.lr: -1 is not allowed; allowed: a number > 0"


@pytest.mark.parametrize("time", ["soon", "12:99:00", "0"])
def test_a_time_that_cannot_be_read_is_refused_with_the_forms(time):
    said = problem(f"trainer.max_time={time}")
    assert said.startswith("trainer.max_time: ")
    assert '"HH:MM:SS"' in said
