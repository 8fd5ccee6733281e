"""The inner loops of the fast radial MLP: silu(z) = z s(z), s the logistic function.

Names: ``by_y`` is the gradient by y, ``dot_y`` the derivative of y along a direction.
"""
# pyright: basic

from __future__ import annotations

from typing import no_type_check

from mace_train.model.compiled import compiled


@compiled
@no_type_check
def activate(z, s, dot_z, value, dot_value, slope, curve):
    """Set silu(z), its derivative silu'(z) dot_z, silu'(z), and silu''(z) dot_z.

    Args:
        z: (pairs, hidden), like all others.
        s: s(z).
        dot_z: Direction.
        value: To set, like those that follow.
        dot_value: See above.
        slope: See above.
        curve: See above.
    """
    for i in range(z.shape[0]):
        for k in range(z.shape[1]):
            silu = z[i, k] * s[i, k]
            ds = s[i, k] * (1 - s[i, k])
            first = s[i, k] + z[i, k] * ds
            value[i, k] = silu
            slope[i, k] = first
            dot_value[i, k] = first * dot_z[i, k]
            # s'' = s' (1 - 2 s), so silu'' = 2 s' + z s''.
            curve[i, k] = ds * (2 + z[i, k] - 2 * silu) * dot_z[i, k]


@compiled
@no_type_check
def differentiate(slope, curve, by_value, by_dot_value, by_z, by_dot_z):
    """Set the gradients by z and dot_z, given those by value and dot_value."""
    for i in range(slope.shape[0]):
        for k in range(slope.shape[1]):
            by_z[i, k] = curve[i, k] * by_dot_value[i, k] + slope[i, k] * by_value[i, k]
            by_dot_z[i, k] = slope[i, k] * by_dot_value[i, k]
