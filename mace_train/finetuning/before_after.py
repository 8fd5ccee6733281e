"""`compare_models`: errors of the parent and of the fine-tuned model on the same frames.

Floor 5. Two questions are answered in one table: what has been learned on the user's
frames, and what has been forgotten on those of the guard. Energies are compared in one
reference: E0s that belong to the labels, whichever model predicts
(`ComparedSet.reference`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mace_train.data.dataset import GraphDataset
from mace_train.finetuning.compared import BeforeAfter, ComparedErrors, ComparedSet
from mace_train.finetuning.parent_labels import place_of_head
from mace_train.training.errors import Evaluation
from mace_train.training.evaluation import evaluate_model
from mace_train.training.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from jaxtyping import Float

    from mace_train.model.mace import MACE
    from mace_train.training.frame_set import FrameSet

_SAME_ENERGY = 1e-4  # eV: E0s that differ by less are equal, as of a float32 file
_ENERGY = "energy_per_atom_mae"


def compare_models(
    parent: MACE,
    tuned: MACE,
    sets: Sequence[ComparedSet],
    *,
    parent_head: str | None = None,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> BeforeAfter:
    """Evaluate the parent and the fine-tuned model on the same frames.

    Args:
        parent: As it came, with its own E0s.
        tuned: The fine-tuned model.
        sets: At least one; a set without frames is passed over.
        parent_head: Head of the parent that fine-tuning started from; None: the only one.
        batch_size: Frames evaluated at a time.
        device: Where to compute.
        progress: Called with the frames of a set done and their total.

    Returns:
        Errors of every set; energies of the parent and of the fine-tuned model are shifted
        by differences of E0s, so that both have the reference of the labels.

    Raises:
        ValueError: If a head is missing or unknown, there is no frame at all, a model does
            not know an element, or the parent's predictions are not finite.
    """
    comparison = _Comparison(
        parent, tuned, parent_head=parent_head, batch_size=batch_size, device=device
    )
    rows = [
        row
        for one in sets
        if len(one.frames)
        for row in comparison.rows_of(one, progress=progress)
    ]
    if not rows:
        raise ValueError("there are no frames on which to compare the models")
    return BeforeAfter(tuple(rows), tuple(comparison.notes))


class _Comparison:
    """Two models, and what has to be said while they are compared."""

    def __init__(
        self,
        parent: MACE,
        tuned: MACE,
        *,
        parent_head: str | None,
        batch_size: int,
        device: torch.device | str,
    ) -> None:
        self.parent, self.tuned = parent, tuned
        self.parent_place = place_of_head(parent, parent_head)
        self.parent_e0s = _e0s(parent, self.parent_place)
        self.notes: list[str] = []
        self._batch_size, self._device = batch_size, device

    def rows_of(
        self, one: ComparedSet, *, progress: Callable[[int, int], None] | None
    ) -> list[ComparedErrors]:
        """The parent is evaluated once, the fine-tuned model by each of the heads."""
        models = (("the parent", self.parent), ("the fine-tuned model", self.tuned))
        for who, model in models:
            one.frames.require_elements(
                model.elements, who=who, where=one.name, cure="Leave those frames out."
            )
        before = self._evaluated(
            self.parent, one.frames, self.parent_place, progress=progress
        )
        rows = []
        for head in one.heads:
            place = place_of_head(self.tuned, head)
            new_e0s = _e0s(self.tuned, place)
            to_new = _shifted(before, new_e0s - self.parent_e0s)
            is_parents = self._is_in_parents(one, before, to_new, head=head)
            try:
                after = self._evaluated(self.tuned, one.frames, place, progress=progress)
            except ValueError as error:  # not finite; the elements have been checked
                after = None
                self.notes.append(f"{_name(one, head)}: {error}")
            if is_parents and after is not None:
                after = _shifted(after, self.parent_e0s - new_e0s)
            labelled = before if is_parents else to_new
            has_moved = self._has_moved(one, new_e0s)
            zero = before.zero_forces
            rows.append(
                ComparedErrors(
                    set_name=one.name,
                    head=head,
                    origin=one.origin,
                    before=labelled.results,
                    after=None if after is None else after.results,
                    as_it_came=before.results if has_moved and not is_parents else None,
                    mean_force=None if zero is None else zero[0],
                )
            )
            if has_moved:
                self._explain(_name(one, head), is_parents=is_parents)
        return rows

    def _is_in_parents(
        self, one: ComparedSet, before: Evaluation, to_new: Evaluation, *, head: str
    ) -> bool:
        """Whether the labels' energies contain the parent's E0s."""
        if one.reference != "unknown":
            return one.reference == "parent"
        own, new = before.results[_ENERGY], to_new.results[_ENERGY]
        if own is None or new is None:
            return True
        is_parents = own <= new
        if abs(own - new) > _SAME_ENERGY:
            self.notes.append(
                f"{_name(one, head)}: its energies are taken to have the reference of "
                f"{'the parent' if is_parents else 'the fine-tuned model'}, whose E0s fit "
                f"better ({1000 * min(own, new):.4g} against {1000 * max(own, new):.4g} "
                "meV/atom before fine-tuning)"
            )
        return is_parents

    def _explain(self, where: str, *, is_parents: bool) -> None:
        if is_parents:
            note = (
                f"{where}: the E0s of the fine-tuned model are others, so its "
                "energies are compared without the difference of E0s"
            )
        else:
            note = (
                f"{where}: 'parent' is what the parent predicts with the E0s "
                "of the fine-tuned model, which is where fine-tuning began; 'parent as it "
                "came' has its own E0s"
            )
        self.notes.append(note)

    def _has_moved(self, one: ComparedSet, new_e0s: np.ndarray) -> bool:
        """Whether an element of the set has another E0 than in the parent."""
        numbers = sorted(one.frames.atomic_numbers)
        moved = np.abs(new_e0s - self.parent_e0s)[numbers]
        return bool((moved > _SAME_ENERGY).any())

    def _evaluated(
        self,
        model: MACE,
        frames: FrameSet,
        place: int,
        *,
        progress: Callable[[int, int], None] | None,
    ) -> Evaluation:
        dataset = GraphDataset(
            frames.store,
            frames.indices,
            elements=model.elements,
            r_max=model.r_max,
            dtype=next(model.parameters()).dtype,
        )
        return evaluate_model(
            model,
            dataset,
            batch_size=self._batch_size,
            device=self._device,
            head=place,
            progress=progress,
        )


def _name(one: ComparedSet, head: str) -> str:
    """A set in notes, with the head where it has rows of several."""
    return f"{one.name}, head {head}" if len(one.heads) > 1 else one.name


def _e0s(model: MACE, place: int) -> Float[np.ndarray, " 119"]:
    """E0s of a head by atomic number, eV; NaN for elements the model does not know."""
    values = np.full(119, np.nan)
    e0s = model.atomic_energies_fn.atomic_energies[place]
    values[list(model.elements.atomic_numbers)] = e0s.detach().double().cpu().numpy()
    return values


def _shifted(evaluation: Evaluation, e0s: Float[np.ndarray, " 119"]) -> Evaluation:
    """The same predictions with energies changed by a number for each atom, eV."""
    predictions = evaluation.predictions
    assert isinstance(predictions, Predictions)
    shifts = np.bincount(
        predictions.frame_of_atom,
        weights=e0s[predictions.atomic_numbers],
        minlength=len(predictions.energy),
    )
    moved = replace(predictions, energy=predictions.energy + shifts)
    return Evaluation(moved, evaluation.store)
