"""Which rows and epochs a learning curve is taken from.

One pass over all evaluation rows (6,692 of MNLI and 30,000 of HANS) reads more rows than a whole
training of 40 epochs on 128 shots. The curve is therefore counted over a fixed sample of each set;
all rows are scored for the kept epochs alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PART = ["group", "subset", "label"]
"""Columns whose values make a part of an evaluation set: what curves and metrics count apart."""


@dataclass(frozen=True)
class Parts:
    """The parts of some rows: `keys` [parts] with group, subset ('' for none) and label, in
    ascending order; `of` [rows] is the index of each row's part."""

    keys: "pd.DataFrame"
    of: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Return the rows of each part, int64 [parts]."""
        return np.bincount(self.of, minlength=len(self.keys))


def parts_of(rows: "pd.DataFrame") -> Parts:
    """Return the parts of rows (schemas.ROWS), in the order of the rows."""
    names = rows[PART[:2]].astype(object).fillna("").assign(label=rows["label"].astype("int64"))
    grouped = names.groupby(PART)
    return Parts(grouped.size().reset_index()[PART], grouped.ngroup().to_numpy())


def row_limit(setting: int | str) -> int | None:
    """Return the setting `curve_rows` as a number of rows; None: all."""
    return None if setting == "all" else int(setting)


def curve_sample(rows: "pd.DataFrame", limit: int | None, name: str) -> np.ndarray:
    """Return the positions in `rows` that the curve of set `name` counts, ascending, int64.

    Everything where there is no `limit` or the set (schemas.ROWS) has no more rows than it. Else
    `limit` rows, stratified by group, subset and label (see `allocate`), drawn by the set's name
    and the rows' ids alone: the same for every seed, epoch, method, model and order of rows. A
    larger limit gives each stratum the same rows first.

    Raises UserError where the limit is smaller than the number of strata.
    """
    # Imported here: the plan reads this module too, and pandas would slow every start of a job.
    from ..rng import generator

    if limit is None or len(rows) <= limit:
        return np.arange(len(rows))
    draw = generator("curve", name)
    return stratified_sample(rows, limit, draw, "methods.yaml: curve_rows", name, ", or all")


def stratified_sample(
    rows: "pd.DataFrame",
    limit: int,
    draw: np.random.Generator,
    where: str,
    name: str,
    otherwise: str = "",
) -> np.ndarray:
    """Return the positions of `limit` rows, stratified by group, subset and label, ascending.

    Depends on the rows' ids, not on their order. Raises UserError, beginning with `where`, for
    fewer rows than strata of set `name`; `otherwise` is what is valid besides.
    """
    order = np.argsort(rows["id"].to_numpy(), kind="stable")
    parts = parts_of(rows)
    stratum, sizes = parts.of[order], parts.sizes
    if limit < len(sizes):
        raise UserError(
            f"{where}: {limit} rows cannot show each of the {len(sizes)} "
            f"parts (group, subset, label) of '{name}'; valid: {len(sizes)} or more{otherwise}"
        )
    chosen = [
        draw.permutation(order[stratum == i])[:share]
        for i, share in enumerate(allocate(sizes, limit))
    ]
    return np.sort(np.concatenate(chosen))


def allocate(sizes: np.ndarray, limit: int) -> np.ndarray:
    """Return how many of `limit` rows fall to strata of `sizes` rows: proportional, none empty.

    A stratum whose share is below one row gets one; the others share the rest in proportion, by
    largest remainders (Hamilton's method; of equal remainders the first strata get the row).
    Needs len(sizes) <= limit <= sum(sizes).
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    ones = np.zeros(len(sizes), dtype=bool)
    while True:  # Integers throughout: no share depends on rounding.
        rest, total = limit - ones.sum(), sizes[~ones].sum()
        below = ~ones & (rest * sizes < total)
        if not below.any():
            break
        ones |= below
    whole, remainder = np.divmod(rest * sizes, total)
    shares, remainder = np.where(ones, 1, whole), np.where(ones, -1, remainder)
    shares[np.argsort(-remainder, kind="stable")[: limit - shares.sum()]] += 1
    return shares


def curve_epochs(setting: str | int | list[int], epochs: int) -> list[int]:
    """Return the epochs, from 1, after which the curve is taken, ascending; always the last, which
    is 0 where nothing is trained.

    `setting` is "each", "last", a number of epochs, which are spread evenly in their logarithm, or
    a list. Raises UserError for an epoch beyond 1 to `epochs`.
    """
    if setting == "each":
        return [*range(1, epochs), epochs]
    if isinstance(setting, int):
        return _spread(setting, epochs)
    chosen = [] if setting == "last" else setting
    wrong = [epoch for epoch in chosen if not 1 <= epoch <= epochs]
    if wrong:
        raise UserError(f"curve_epochs: {wrong[0]} is none of the epochs; valid: 1 to {epochs}")
    return sorted({*chosen, epochs})


def _spread(count: int, epochs: int) -> list[int]:
    """Return `count` of the epochs, the last among them, evenly spread in their logarithm; all of
    them where there are no more.

    Accuracy changes most in the first epochs. Where these lie closer than one epoch, the next is
    taken, so that there are always `count`.
    """
    if not 1 < count < epochs:
        return curve_epochs("last" if count == 1 else "each", epochs)
    found = [1]
    for point in range(1, count):
        found.append(max(found[-1] + 1, round(epochs ** (point / (count - 1)))))
    return found
