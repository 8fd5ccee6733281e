"""Which blocks of a model move in training, and which are frozen.

Floor 2.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mace_train.model.mace import MACE


def set_trainable(model: MACE, blocks: Sequence[str]) -> list[str]:
    """Let some blocks move and freeze everything else, in place.

    Args:
        model: Without low-rank updates.
        blocks: ``node_embedding``, ``interactions``, ``products`` or ``readouts``; one
            layer of these, such as ``products.0``; or any dotted beginning of a parameter's
            name, such as ``interactions.0.conv_tp_weights``.

    Returns:
        The names of the parameters that move, in the model's order.

    Raises:
        ValueError: If there is no block, or one that is not in the model; the message lists
            those there are. Nothing is changed then.
    """
    names = [name for name, _ in model.named_parameters()]
    odd = [block for block in blocks if not any(_is_in(name, block) for name in names)]
    if odd or not blocks:
        found = f"the model has no block {', '.join(map(repr, odd))}"
        raise ValueError(
            f"{found if odd else 'no block is to move'}: name some of "
            f"{', '.join(_blocks(names))}, or a longer beginning of a parameter's name, "
            f"such as {names[-1].rsplit('.', 1)[0]}"
        )
    moving = [name for name in names if any(_is_in(name, block) for block in blocks)]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in moving)
    return moving


def num_trainable(model: nn.Module) -> int:
    """How many numbers of a model move in training."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _is_in(name: str, block: str) -> bool:
    return name == block or name.startswith(f"{block}.")


def _blocks(names: Sequence[str]) -> list[str]:
    """Each kind of block, then its layers."""
    blocks: dict[str, None] = {}
    for name in names:
        kind, layer = name.split(".")[:2]
        blocks[kind] = None
        if layer.isdecimal():
            blocks[f"{kind}.{layer}"] = None
    return list(blocks)
