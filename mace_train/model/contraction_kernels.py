"""The inner loops of the fast symmetric contraction, atom by atom.

With the gradients T = D N of homogeneous forms (`homogeneous_forms.py`), results are F = (1
/ degree) sum over i of x_i T_i, with x_0 = 1. Channels are taken in blocks, so that all of
an atom lies in cache. Names: ``by_y`` is the gradient by y, ``dot_y`` the derivative of y
along a direction.
"""
# pyright: basic

from __future__ import annotations

from typing import no_type_check

import numpy as np

from mace_train.model.compiled import compiled

BLOCK = 64  # channels


@compiled
@no_type_check
def _load(message, atom, start, width, constant, x):
    """Components of an atom in a block of channels, the constant first."""
    for k in range(width):
        x[0, k] = constant
    for i in range(len(message)):
        component = message[i, atom]
        for k in range(width):
            x[i + 1, k] = component[start + k]


@compiled
@no_type_check
def _set_monomials(factors, x, width, monomials):
    for mu in range(len(monomials)):
        for k in range(width):
            monomials[mu, k] = 1
        for f in range(len(factors)):
            factor = x[factors[f, mu]]
            for k in range(width):
                monomials[mu, k] *= factor[k]


@compiled
@no_type_check
def _set_dot_monomials(factors, x, dot_x, width, dot_monomials):
    """Derivative of monomials of up to two factors."""
    for mu in range(len(dot_monomials)):
        dot_monomials[mu, :] = 0
        for f in range(len(factors)):
            dot = dot_x[factors[f, mu]]
            if len(factors) == 1:
                for k in range(width):
                    dot_monomials[mu, k] += dot[k]
            else:
                other = x[factors[1 - f, mu]]
                for k in range(width):
                    dot_monomials[mu, k] += dot[k] * other[k]


@compiled
@no_type_check
def _add_rows(table, entries, start, width, monomials, rows):
    """Add D N to the rows."""
    entry_row, entry_monomial = table
    for e in range(len(entry_row)):
        row, monomial, entry = rows[entry_row[e]], monomials[entry_monomial[e]], entries[e]
        for k in range(width):
            row[k] += entry[start + k] * monomial[k]


@compiled
@no_type_check
def _add_entries(table, rows, monomials, start, width, by_entries):
    """Add the gradient by D: products of rows and monomials."""
    entry_row, entry_monomial = table
    for e in range(len(entry_row)):
        row, monomial = rows[entry_row[e]], monomials[entry_monomial[e]]
        by_entry = by_entries[e]
        for k in range(width):
            by_entry[start + k] += row[k] * monomial[k]


@compiled
@no_type_check
def _add_results(table, scale, x, rows, atom, start, width, results):
    """Add the sums over i of x_i T_i, times a number."""
    row_result, row_component = table
    for r in range(len(rows)):
        component, row = x[row_component[r]], rows[r]
        result = results[row_result[r], atom]
        for k in range(width):
            result[start + k] += scale * component[k] * row[k]


@compiled
@no_type_check
def _set_row_gradients(table, scale, x, by_results, atom, start, width, rows):
    """Set rows to the gradient of what `_add_results` adds."""
    row_result, row_component = table
    for r in range(len(rows)):
        component, row = x[row_component[r]], rows[r]
        by_result = by_results[row_result[r], atom]
        for k in range(width):
            row[k] = scale * by_result[start + k] * component[k]


@compiled
@no_type_check
def _workspace(forms, message):
    """Arrays for one atom: components, monomials, rows."""
    factors, rows, _ = forms
    return (
        np.empty((len(message) + 1, BLOCK), message.dtype),
        np.empty((factors.shape[1], BLOCK), message.dtype),
        np.empty((len(rows[0]), BLOCK), message.dtype),
    )


@compiled
@no_type_check
def set_results(forms, atoms, ends, message, entries, gradients, results):
    """Set T and add to F.

    Args:
        forms: factors, (row_result, row_component), (entry_row, entry_monomial).
        atoms: (nodes,) sorted by element.
        ends: (elements + 1,) where each element begins and ends in ``atoms``.
        message: (components, nodes, channels) x without the constant.
        entries: (elements, entries, channels) of D.
        gradients: (rows, nodes, channels) T.
        results: (results, nodes, channels) to add to.
    """
    factors, row_table, entry_table = forms
    channels = message.shape[2]
    euler = message.dtype.type(1 / (len(factors) + 1))
    x, monomials, rows = _workspace(forms, message)
    for element in range(len(ends) - 1):
        of_element = entries[element]
        for start in range(0, channels, BLOCK):
            width = min(BLOCK, channels - start)
            for atom in atoms[ends[element] : ends[element + 1]]:
                _load(message, atom, start, width, 1, x)
                _set_monomials(factors, x, width, monomials)
                rows[:] = 0
                _add_rows(entry_table, of_element, start, width, monomials, rows)
                _add_results(row_table, euler, x, rows, atom, start, width, results)
                for r in range(len(rows)):
                    gradient = gradients[r, atom]
                    for k in range(width):
                        gradient[start + k] = rows[r, k]


@compiled
@no_type_check
def add_message_gradient(forms, gradients, by_results, by_message):
    """Add the sums over results of their gradient times T."""
    row_result, row_component = forms[1]
    for r in range(len(row_result)):
        if row_component[r] > 0:
            gradient, by_result = gradients[r], by_results[row_result[r]]
            into = by_message[row_component[r] - 1]
            for atom in range(gradient.shape[0]):
                for k in range(gradient.shape[1]):
                    into[atom, k] += by_result[atom, k] * gradient[atom, k]


@compiled
@no_type_check
def add_entry_gradient(forms, atoms, ends, message, by_results, by_entries):
    """Add the gradient of the results by D."""
    factors, row_table, entry_table = forms
    channels = message.shape[2]
    euler = message.dtype.type(1 / (len(factors) + 1))
    x, monomials, rows = _workspace(forms, message)
    for element in range(len(ends) - 1):
        into = by_entries[element]
        for start in range(0, channels, BLOCK):
            width = min(BLOCK, channels - start)
            for atom in atoms[ends[element] : ends[element + 1]]:
                _load(message, atom, start, width, 1, x)
                _set_monomials(factors, x, width, monomials)
                _set_row_gradients(
                    row_table, euler, x, by_results, atom, start, width, rows
                )
                _add_entries(entry_table, rows, monomials, start, width, into)


@compiled
@no_type_check
def add_second_derivative(
    forms,
    atoms,
    ends,
    message,
    entries,
    gradients,
    by_results,
    dot_message,
    by_message,
    by_entries,
    dot_results,
):
    """Derivative of the first derivative by the message along a direction, dot_message.

    Adds to by_message, by_entries and dot_results.
    """
    factors, row_table, entry_table = forms
    row_result, row_component = row_table
    channels, one = message.shape[2], message.dtype.type(1)
    x, monomials, rows = _workspace(forms, message)
    dot_x, dot_monomials, dot_rows = _workspace(forms, message)
    for element in range(len(ends) - 1):
        of_element, into_element = entries[element], by_entries[element]
        for start in range(0, channels, BLOCK):
            width = min(BLOCK, channels - start)
            for atom in atoms[ends[element] : ends[element + 1]]:
                _load(message, atom, start, width, 1, x)
                _load(dot_message, atom, start, width, 0, dot_x)
                _set_monomials(factors, x, width, monomials)
                _set_dot_monomials(factors, x, dot_x, width, dot_monomials)
                dot_rows[:] = 0
                _add_rows(entry_table, of_element, start, width, dot_monomials, dot_rows)
                for r in range(len(rows)):
                    i, gradient = row_component[r], gradients[r, atom]
                    for k in range(width):
                        rows[r, k] = gradient[start + k]
                    if i > 0:
                        by_result = by_results[row_result[r], atom]
                        into = by_message[i - 1, atom]
                        for k in range(width):
                            into[start + k] += by_result[start + k] * dot_rows[r, k]
                _add_results(row_table, one, dot_x, rows, atom, start, width, dot_results)
                _set_row_gradients(
                    row_table, one, dot_x, by_results, atom, start, width, rows
                )
                _add_entries(entry_table, rows, monomials, start, width, into_element)
