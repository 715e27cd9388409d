"""Which evaluation rows vary together: the clusters of a set."""

from dataclasses import dataclass

import numpy as np

from ..data.evaluation_sets import EvaluationSet
from . import stats
from .predictions import unpack


@dataclass(frozen=True)
class RowClusters:
    """What is resampled of an evaluation set of R rows: its C clusters, or its rows.

    `of` [R] is the cluster of each row in ascending id, `sizes` [C] are their rows, and `strata`
    [C] tells what varies among itself (None: all). A set that is made from templates, each of one
    gold label, is balanced by design (`EvaluationSet.cluster_labels`): its clusters vary label by
    label. Else the share of labels would vary, and with it the difference of two methods that
    favour different answers.
    """

    of: np.ndarray
    sizes: np.ndarray
    strata: np.ndarray | None

    @property
    def alone(self) -> bool:
        """Return whether each row is a cluster of its own."""
        return len(self.of) == len(self.sizes)

    def sums(self, packed: np.ndarray) -> np.ndarray:
        """Return how many answers of each cluster are right, [S, C], of packed answers [S]."""
        return self.added(unpack(packed, len(self.of)))

    def parts(self, sums: np.ndarray) -> stats.Parts:
        """Return the parts of the variance of a mean, of sums by cluster [S, C]."""
        return stats.parts(sums, self.sizes, self.strata)

    def added(self, values: np.ndarray) -> np.ndarray:
        """Return values of rows [S, R] added up within clusters, [S, C]."""
        return values if self.alone else stats.cluster_sums(values, self.of, len(self.sizes))


def row_clusters(item: EvaluationSet) -> RowClusters:
    """Return the clusters of an evaluation set; rows by themselves where it has none."""
    rows = len(item.labels)
    if item.clusters is None or item.clusters.max(initial=-1) + 1 == rows:
        return RowClusters(np.arange(rows), np.ones(rows, dtype=np.int64), None)
    labels = item.cluster_labels
    several = labels is not None and np.unique(labels, return_counts=True)[1].min() > 1
    return RowClusters(item.clusters, np.bincount(item.clusters), labels if several else None)
