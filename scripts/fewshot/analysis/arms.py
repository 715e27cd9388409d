"""The arms of one evaluation set: accuracies by seed, and means over resampled rows and seeds.

An arm is a model, method, pattern, number of shots and selection of the checkpoint, on one
evaluation set of one task.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet
from ..rng import generator
from . import stats
from .predictions import CORRECT, unpack
from .row_clusters import RowClusters, row_clusters
from .summary import at_level
from .titles import OWN_METRICS

ARM = ["model", "method", "pattern", "k", "selection"]
RUN = ["model", "method", "pattern", "k", "seed", "epoch"]
NO_MEANS = tuple(score for score, _ in OWN_METRICS.values())
"""Scores that follow from the answers, of two labels, but are no mean over rows."""
RESAMPLES = 10_000
"""Resamples of the crossed bootstrap. Its smallest p is 0.0002, so that Holm's correction for a
matrix of 49 comparisons begins at 0.0098, and p = 0.001 still rests on five resamples a side."""


@dataclass(frozen=True)
class Arms:
    """All arms of one evaluation set, A of them, over the S seeds of the study.

    `keys` [A] has the columns ARM; the arrays [A, S] say per seed the `score` (nan: none), the
    number of `rows` it rests on, whether it was `planned`, whether it does not fit the window
    (`unfit`), and which row of the outcomes holds its answers (`outcome`; -1: none, the epoch was
    not kept).
    """

    keys: pd.DataFrame
    seeds: np.ndarray
    score: np.ndarray
    rows: np.ndarray
    planned: np.ndarray
    unfit: np.ndarray
    outcome: np.ndarray


def arms_of(
    metrics: pd.DataFrame, outcomes: pd.DataFrame, name: str, score: str = "accuracy"
) -> Arms:
    """Return the arms of evaluation set `name` from the metrics and outcomes of one task.

    `score` is a column of the metrics. Answers are those that it counts, if it counts any.
    """
    chosen = at_level(metrics)
    chosen = chosen[(chosen["evaluation_set"] == name) & (chosen["selection"] != "each")]
    chosen = chosen.reset_index(drop=True)
    arm_index = chosen.groupby(ARM, sort=False).ngroup().to_numpy()
    seeds, column = np.unique(chosen["seed"].to_numpy(dtype=np.int64), return_inverse=True)
    keys = chosen.loc[~chosen.duplicated(ARM), ARM].reset_index(drop=True)

    def table(values: object, blank: float | int | bool) -> np.ndarray:
        values = np.asarray(values)
        filled = np.full((len(keys), len(seeds)), blank, dtype=values.dtype)
        filled[arm_index, column] = values
        return filled

    status = chosen["status"].astype(object)
    return Arms(
        keys,
        seeds,
        table(chosen[score].to_numpy(dtype=float), np.nan),
        table(chosen["n"].to_numpy(dtype=np.int64), 0),
        table(np.ones(len(chosen), dtype=bool), False),
        table((status == "does not fit").to_numpy(), False),
        table(_places(chosen, outcomes, name, answers_of(score)), -1),
    )


def seeds_status(done: int, planned: int, unfit: int) -> str:
    """Return 'ok', or why what rests on seeds is not what was planned."""
    if not done:
        return "does not fit" if planned and unfit == planned else "missing"
    if done < 2:
        return f"one seed of {planned}"
    return "ok" if done == planned else f"{done}/{planned} seeds"


def answers_of(score: str) -> str | None:
    """Return the column of the outcomes that a score follows from; None: from none."""
    column = "correct" if score in NO_MEANS else score.replace("accuracy", "correct")
    return column if column in CORRECT else None


def _places(
    chosen: pd.DataFrame, outcomes: pd.DataFrame, name: str, answers: str | None
) -> np.ndarray:
    """Return, for each metrics row, the position in `outcomes` of the run it was counted from.

    -1 where there is none, or where the count is one of a sample of the rows.
    """
    if answers is None:
        return np.full(len(chosen), -1)
    here = (outcomes["evaluation_set"].to_numpy() == name) & outcomes[answers].notna().to_numpy()
    position = np.flatnonzero(here)
    stored = pd.MultiIndex.from_frame(outcomes.loc[here, [*RUN, "n"]].astype({"k": "int64"}))
    wanted = pd.MultiIndex.from_frame(chosen[[*RUN, "n"]].astype({"k": "int64"}))
    positions = stored.get_indexer(wanted) if len(stored) else np.full(len(chosen), -1)
    return np.where(
        (positions >= 0) & (chosen["status"] == "ok"), np.append(position, -1)[positions], -1
    )


@dataclass(frozen=True)
class Bootstrap:
    """The resampled rows of one evaluation set, the same for all its arms and seeds.

    `weights` [B, C] are those of its `clusters`. `packed` are all answers, a column of
    result_schemas.OUTCOMES. Resampled means are computed once for each arm and kept in `lines`, as
    resampled seeds are in `seeds` and answers by cluster in `counts`.
    """

    task: str
    item: EvaluationSet
    packed: np.ndarray
    weights: np.ndarray
    clusters: RowClusters
    lines: dict[tuple[str, bytes], np.ndarray] = field(default_factory=dict)
    counts: dict[tuple[str, bytes], np.ndarray] = field(default_factory=dict)
    seeds: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def of_answers(self, packed: np.ndarray) -> "Bootstrap":
        """Return the same resampled rows and seeds for other answers of the same runs."""
        return replace(self, packed=packed, lines={}, counts={})

    def line(self, runs: np.ndarray, side: str, score: str = "accuracy") -> np.ndarray:
        """Return the resampled mean [B] over the seeds whose answers are `runs`, rows of outcomes.

        Arms of one `side` share the resampled seeds; those of different sides do not. `score` is
        an accuracy or one of NO_MEANS.
        """
        metric = score if score in NO_MEANS else ""
        key = (side + metric, runs.tobytes())
        if key not in self.lines:
            means = self._resampled(runs, metric)
            self.lines[key] = stats.over_seeds(means, self._seed_weights(len(runs), side))
        return self.lines[key]

    def _resampled(self, runs: np.ndarray, metric: str) -> np.ndarray:
        """Return the resampled means of the seeds, [S, B], or a metric that is none."""
        alone = self.clusters.alone
        if metric:
            of = None if alone else self.clusters.of
            correct = unpack(self.packed[runs], len(self.item.labels))
            return stats.resampled_metric(metric, correct, self.item.labels, self.weights, of)
        sizes = None if alone else self.clusters.sizes
        return stats.resampled_means(self.sums(runs), sizes, self.weights)

    def sums(self, runs: np.ndarray, score: str = "accuracy") -> np.ndarray:
        """Return what the rows of each cluster add to a score, [S, C], of runs, rows of outcomes:
        how many answers are right, or the linearised values of one of NO_MEANS."""
        metric = score if score in NO_MEANS else ""
        key = (metric, runs.tobytes())
        if key not in self.counts:
            values = unpack(self.packed[runs], len(self.item.labels))
            if metric:
                values = stats.linearised_metric(metric, values, self.item.labels)
            self.counts[key] = self.clusters.added(values)
        return self.counts[key]

    def _seed_weights(self, seeds: int, side: str) -> np.ndarray:
        key = (side, seeds)
        if key not in self.seeds:
            rng = generator("bootstrap", self.task, self.item.name, "seeds", side, seeds)
            self.seeds[key] = stats.seed_weights(rng, len(self.weights), seeds)
        return self.seeds[key]


def bootstrap_of(
    task: str, item: EvaluationSet, outcomes: pd.DataFrame, resamples: int = RESAMPLES
) -> Bootstrap:
    """Draw the resampled rows of an evaluation set, clusters whole (see RowClusters)."""
    clusters = row_clusters(item)
    rng = generator("bootstrap", task, item.name)
    weights = stats.row_weights(rng, resamples, len(clusters.sizes), clusters.strata)
    return Bootstrap(task, item, outcomes["correct"].to_numpy(dtype=object), weights, clusters)
