"""Standard errors of mean accuracies, for other draws and other rows like these.

They rest on which rows each seed has right, so they are computed where this is known, at every
level of breakdown: within a part of an evaluation set the clusters are those of its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data import halves
from ..data.curve_sample import PART
from ..data.evaluation_sets import EvaluationSet
from . import stats
from .predictions import CORRECT, unpack
from .row_clusters import RowClusters, row_clusters

SCORES = {name.replace("correct", "accuracy"): name for name in CORRECT}
"""Each accuracy of the metrics, and the column of the outcomes that it counts."""
ERRORS = [*(f"{name}_{part}" for name in SCORES for part in ("error", "df")), "clusters"]
"""Standard error and degrees of freedom of each accuracy's mean over seeds, and what they are
estimated from."""


@dataclass(frozen=True)
class Cells:
    """The rows of an evaluation set by part and cluster: what right answers are added up in.

    `of` [R] is the cell of each row in ascending id; `part`, `cluster` and `sizes` [cells] tell its
    part, its cluster and its number of rows.
    """

    of: np.ndarray
    part: np.ndarray
    cluster: np.ndarray
    sizes: np.ndarray

    def sums(self, packed: Sequence[bytes]) -> np.ndarray:
        """Return how many answers of each cell are right, [S, cells], of packed answers [S]."""
        return stats.cluster_sums(unpack(packed, len(self.of)), self.of, len(self.sizes))


def cells_of(item: EvaluationSet, clusters: RowClusters) -> Cells:
    """Return the cells of an evaluation set, in the order of clusters."""
    codes = clusters.of * len(item.parts) + item.part_of
    found, of, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    cluster, part = np.divmod(found, len(item.parts))
    return Cells(of, part, cluster, sizes)


@dataclass(frozen=True)
class Breakdown:
    """One part of an evaluation set at one level: its `cells`, of which those from `first` [C] to
    the next make a cluster, with the clusters' `sizes` and `strata` (see RowClusters)."""

    cells: np.ndarray
    first: np.ndarray
    sizes: np.ndarray
    strata: np.ndarray | None

    def error(self, sums: np.ndarray) -> stats.Error:
        """Return the error of the part's mean accuracy from right answers by cell [S, cells]."""
        by_cluster = np.add.reduceat(sums[:, self.cells], self.first, axis=1)
        return stats.error_of(stats.parts(by_cluster, self.sizes, self.strata))


def breakdown(cells: Cells, inside: np.ndarray, strata: np.ndarray | None) -> Breakdown:
    """Return the breakdown to the parts `inside` (bool [parts]); `strata` are those of the set.

    They hold only where each of them keeps two clusters.
    """
    found = np.flatnonzero(inside[cells.part])
    clusters, first = np.unique(cells.cluster[found], return_index=True)
    own = None if strata is None else strata[clusters]
    if own is not None and np.unique(own, return_counts=True)[1].min() < 2:
        own = None
    return Breakdown(found, first, np.add.reduceat(cells.sizes[found], first), own)


def add_errors(
    rows: pd.DataFrame,
    scored: pd.DataFrame,
    sets: Sequence[EvaluationSet],
    cells: Sequence[int],
    half: EvaluationSet | None = None,
) -> pd.DataFrame:
    """Return metric rows with the columns ERRORS, the same for all seeds of a mean.

    `rows` are those of `metrics.metric_rows`, `scored` those of `predictions.score_predictions`
    with a job; `cells` gives each job's cell: jobs that share one have its seeds. `half` are the
    test rows of the first set, if the others chose the epoch (`halves`). Errors are null at single
    epochs of a curve and where a seed's row predictions were not kept; one seed has that of its
    rows alone.
    """
    # Two digits would do; float32 keeps what every page reads small.
    values = np.full((len(rows), len(ERRORS)), np.nan, dtype=np.float32)
    chosen = (rows["selection"] != "each").to_numpy()
    by_half = (rows["selection"] == halves.SELECTION) & (rows["evaluation_set"] == sets[0].name)
    by_half = by_half.to_numpy() & (half is not None)
    for item, mask in [*((item, ~by_half) for item in sets), (half, by_half)]:
        name = sets[0].name if item is half else item.name
        here = np.flatnonzero(chosen & mask & (rows["evaluation_set"] == name).to_numpy())
        if len(here):
            of_rows = scored["n"] == len(item.labels)
            known = scored[(scored["evaluation_set"] == name) & of_rows]
            part = rows.iloc[here].assign(cell=np.asarray(cells)[rows["job"].iloc[here]])
            values[here] = _of_set(part, known, item)
    return pd.concat([rows, pd.DataFrame(values, rows.index, ERRORS)], axis=1)


def _of_set(rows: pd.DataFrame, scored: pd.DataFrame, item: EvaluationSet) -> np.ndarray:
    """Return the values [rows, ERRORS] of one set's metric rows, which have a column `cell`."""
    whole = rows[PART].isna().all(axis=1).to_numpy()
    arm = rows.groupby(["cell", "selection"], sort=False).ngroup().to_numpy()
    named = rows[PART].astype(object).fillna({"group": "", "subset": "", "label": -1})
    of_part = named.groupby(PART, sort=False).ngroup().to_numpy()
    errors = _SetErrors.of(item, named.drop_duplicates())
    runs = _places(rows[whole], scored, len(item.labels))
    answers, found = scored[CORRECT].to_numpy(dtype=object), {}
    table = np.full((arm.max() + 1, len(errors.which), len(ERRORS)), np.nan)
    for each in range(len(table)):
        own = np.sort(runs[arm[whole] == each])
        if own.min(initial=0) >= 0:
            if own.tobytes() not in found:
                found[own.tobytes()] = errors.values(answers[own])
            table[each] = found[own.tobytes()]
    return table[arm, of_part]


def _places(rows: pd.DataFrame, scored: pd.DataFrame, n: int) -> np.ndarray:
    """Return where the predictions of all `n` rows stand that each metric row counts; -1: none."""
    run = ["job", "seed", "epoch"]
    stored = pd.MultiIndex.from_frame(scored[run])
    found = stored.get_indexer(pd.MultiIndex.from_frame(rows[run]))
    return np.where(rows["n"] == n, found, -1)


@dataclass(frozen=True)
class _SetErrors:
    """The `breakdowns` of one set that differ; `which` [parts] is that of each part asked for."""

    cells: Cells
    breakdowns: list[Breakdown]
    which: list[int]

    @classmethod
    def of(cls, item: EvaluationSet, parts: pd.DataFrame) -> "_SetErrors":
        """Return what the `parts` need: rows with PART, '' and -1 where nothing is broken down."""
        clusters = row_clusters(item)
        cells, found, which = cells_of(item, clusters), {}, []
        for part in parts.itertuples(index=False):
            made = breakdown(cells, _inside(item, *part), clusters.strata)
            key = made.cells.tobytes()
            found.setdefault(key, (len(found), made))
            which.append(found[key][0])
        return cls(cells, [made for _, made in found.values()], which)

    def values(self, answers: np.ndarray) -> np.ndarray:
        """Return ERRORS of each part, [parts, ERRORS], of seeds' packed answers [S, CORRECT].

        Seeds without answers after a calibration are left out of it, as they are of its mean.
        """
        columns = []
        for packed in answers.T:
            known = [bits for bits in packed if isinstance(bits, bytes)]
            sums = self.cells.sums(known) if known else None
            errors = [each.error(sums) if known else None for each in self.breakdowns]
            columns += [[each.error if each else np.nan for each in errors]]
            columns += [[each.df if each else np.nan for each in errors]]
        columns.append([len(each.sizes) for each in self.breakdowns])
        return np.array(columns).T[self.which]


def _inside(item: EvaluationSet, group: str, subset: str, label: int) -> np.ndarray:
    """Return which parts of a set belong to one at a level, bool [parts]; '' and -1: any.

    A subset is one of its group: its name alone may occur in several.
    """
    parts = item.parts
    inside = np.ones(len(parts), dtype=bool)
    if group or subset:
        inside &= (parts["group"] == group).to_numpy()
    if subset:
        inside &= (parts["subset"] == subset).to_numpy()
    return inside if label < 0 else inside & (parts["label"] == label).to_numpy()
