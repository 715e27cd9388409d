"""Folds of a draw: which of its rows are learned from while the others are held out and scored.

What is said of the held-out rows rests on the k shots alone, so that settings and calibrations can
be chosen from them without a validation set.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from ..errors import UserError
from ..rng import generator

LEAVE_ONE_OUT, PREQUENTIAL = "leave-one-out", "prequential"
HELD_OUT = "held out"
"""The name of held-out rows as an evaluation set, which no task can have."""


@dataclass(frozen=True)
class Fold:
    """Places in the draw, ascending: of the rows that are `learned` from, and of those held out."""

    learned: np.ndarray
    held_out: np.ndarray


def folds_of(shots: pd.DataFrame, how: int | str, labels: int, task: str, seed: int) -> list[Fold]:
    """Return the folds of a draw (schemas.ROWS, in its order); `how` is `cross_validation` in a
    study.

    A number of folds, or "leave-one-out": each row is held out once, with its copies, whatever its
    place; there are no more folds than different rows. Every fold has as many rows of a label as
    another, or one more. "prequential": the first `labels` rows are learned from, then blocks of
    the draw's order that double are held out, each behind all rows before it (Bornschein et al.
    2025, arXiv 2512.19879).

    Raises UserError as `fold_count` does.
    """
    where = f"task '{task}', seed {seed}"
    different = shots.drop_duplicates("id").sort_values("id")
    count = fold_count(how, len(shots) if how == PREQUENTIAL else len(different), labels, where)
    places = np.arange(len(shots))
    if how == PREQUENTIAL:
        ends = [min(labels * 2**block, len(shots)) for block in range(count + 1)]
        return [Fold(places[:start], places[start:end]) for start, end in pairwise(ends)]
    dealt = []
    for label in sorted(different["label"].unique()):
        ids = different.loc[different["label"] == label, "id"].to_numpy()
        order = generator("folds", task, seed, len(shots), int(label)).permutation(len(ids))
        dealt += ids[order].tolist()
    fold_of = {number: place % count for place, number in enumerate(dealt)}
    of_row = shots["id"].map(fold_of).to_numpy()
    return [Fold(places[of_row != fold], places[of_row == fold]) for fold in range(count)]


def fold_count(how: int | str, rows: int, labels: int, where: str) -> int:
    """Return how many folds so many rows make: different ones or, of "prequential", all.

    Raises UserError, which begins with `where`, where there would be nothing to learn from, or to
    hold out.
    """
    least = labels if how == PREQUENTIAL else 1
    if rows <= least:
        raise UserError(
            f"{where}: cross_validation: {how} needs more than {least} different shots, to learn "
            f"from some and hold others out; here: {rows}"
        )
    if how == PREQUENTIAL:
        return (-(-rows // labels) - 1).bit_length()
    return rows if how == LEAVE_ONE_OUT else min(int(how), rows)
