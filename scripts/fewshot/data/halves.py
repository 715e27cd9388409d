"""The halves of a task's own evaluation rows: one chooses the epoch, the other one judges it.

An epoch that is judged by the rows that chose it looks better on them by chance alone. Rows that
chose nothing say how good it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import UserError
from ..rng import generator
from .curve_sample import row_limit
from .evaluation_sets import EvaluationSet

SELECTION = "held-out"
"""The selection of the epoch that is best on the choice half, and the setting `best_epoch` of jobs
that score this half on their curve."""
BEST_EPOCH = {"best-in-domain": "in-domain", SELECTION: SELECTION}
"""Selection of the best epoch in domain → value of a study's key `best_epoch` that it needs."""


def half_for_choice(item: EvaluationSet) -> EvaluationSet:
    """Return the rows by which an epoch is chosen, as a set of its own with the same name; raises
    UserError as `half_for_test`."""
    return _half(item, chooses=True)


def half_for_test(item: EvaluationSet) -> EvaluationSet:
    """Return the rows that judge what the others chose, as a set of its own with the same name.

    Both halves follow from the set's name, or that of the task whose rows it has, and the rows'
    ids, labels and clusters: they are the same for every method, model, seed and order of rows.
    Raises UserError for a set of fewer than two rows or clusters.
    """
    return _half(item, chooses=False)


def _half(item: EvaluationSet, *, chooses: bool) -> EvaluationSet:
    ids = item.sorted_ids[_in_choice_half(item) == chooses]
    rows = item.rows[item.rows["id"].isin(ids).to_numpy()]
    return replace(item, rows=rows, samples={})


def _in_choice_half(item: EvaluationSet) -> np.ndarray:
    """Return which rows choose, in the order of `sorted_ids`, bool [rows]."""
    name = item.base or item.name
    units = np.arange(len(item.labels)) if item.clusters is None else item.clusters
    if len(np.unique(units)) < 2:
        raise UserError(
            f"best_epoch: {SELECTION}: the evaluation rows of task '{name}' are a single row or "
            "cluster, which is no choice half and test half; valid for such a task: in-domain"
        )
    return split_clusters(item.labels, units, generator("halves", name))


def split_clusters(
    labels: np.ndarray, clusters: np.ndarray, draw: np.random.Generator
) -> np.ndarray:
    """Return which rows are in the first of two halves, bool [rows], stratified by label.

    `labels` [rows] and `clusters` [rows] count from 0; a cluster is in one half. Clusters come in
    random order, the largest first, and each goes to the half that leaves Σ d² smaller, where d is
    the difference between the halves in rows of a label; to the second half if both are equal. That
    is how minimisation puts patients into groups (Taves 1974, Clin. Pharmacol. Ther. 15:443-453).
    Without clusters the halves differ by one row of each label at most.
    """
    counts = np.zeros((clusters.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (clusters, labels), 1)
    order = draw.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    difference, first = np.zeros(counts.shape[1], dtype=np.int64), np.zeros(len(counts), dtype=bool)
    for cluster in order:
        # (d + c)² < (d - c)²
        first[cluster] = difference @ counts[cluster] < 0
        difference += counts[cluster] if first[cluster] else -counts[cluster]
    return first[clusters]


def counted_on_curve(
    sets: Sequence[EvaluationSet], settings: Mapping[str, object]
) -> dict[str, EvaluationSet]:
    """Return the rows of each set that a learning curve counts, by the set's name.

    The first of `sets` is the task's own. `settings` are a job's: `curve_rows`, and `best_epoch` if
    the curve counts only the choice half in domain. A set that is counted whole is returned as is.
    """
    limit, (own, *others) = row_limit(settings["curve_rows"]), sets
    if settings.get("best_epoch") == SELECTION:
        own = half_for_choice(own)
    return {item.name: item.sample(limit) for item in (own, *others)}
