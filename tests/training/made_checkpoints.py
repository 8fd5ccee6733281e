"""Small real checkpoints, and the ways in which files are damaged."""

import torch


def write_checkpoint(path, *, step, num_epochs=0, **entry):
    """A checkpoint with all that the search for a starting point reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "global_step": step,
        "state_dict": {"model.weight": torch.full((64,), float(step))},
        "mace_train": {
            "format": 1,
            "num_epochs": num_epochs,
            "hyperparameters": {},
            "metadata": {},
            **entry,
        },
    }
    torch.save(content, path)
    return path


def _flip_in_tensor(data):
    data[data.index(b"PK\x01\x02") // 2 + 200] ^= 4  # an archive's end is its directory
    return data


def _flip_in_directory(data):
    data[data.index(b"PK\x01\x02") + 38] ^= 16  # now its first entry claims to be a folder
    return data


DAMAGES = {
    "empty": lambda data: b"",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "last bytes missing": lambda data: data[:-9],
    "zeros, as after a power cut": lambda data: bytes(len(data)),
    "one bit of a tensor": _flip_in_tensor,
    "one bit of the directory": _flip_in_directory,
}


def damage(path, how):
    """Damage a file in one of the ways above."""
    path.write_bytes(bytes(DAMAGES[how](bytearray(path.read_bytes()))))
