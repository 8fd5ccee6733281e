import numpy as np
import pytest
from copper_runs import a_state

from mace_train.simulation.state import RunState


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    state = a_state()
    state.write(tmp_path / "state.npz")
    back = RunState.read(tmp_path / "state.npz")
    for name, value in vars(state).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(back, name), value)
        else:
            assert getattr(back, name) == value, name
    again = np.random.default_rng(0)
    again.bit_generator.state = back.rng
    expected = np.random.default_rng(0)
    expected.bit_generator.state = state.rng
    assert again.standard_normal() == expected.standard_normal()


def test_the_older_state_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    a_state(step=1).write(path)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        a_state(step=2).write(path)
    assert RunState.read(path).step == 1


def test_what_is_no_state_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "state.npz"
    for content in (b"", b"nonsense", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.npz is no state .*remove the folder"):
            RunState.read(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match=r"state\.npz is no state"):
        RunState.read(path)


def test_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("mace_train.simulation.state.FORMAT", 3)
    a_state().write(tmp_path / "state.npz")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format 3, this version reads 2"):
        RunState.read(tmp_path / "state.npz")
