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
from .summary import at_level

ARM = ["model", "method", "pattern", "k", "selection"]
RUN = ["model", "method", "pattern", "k", "seed", "epoch"]
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


def answers_of(score: str) -> str | None:
    """Return the column of the outcomes that an accuracy counts; None: no count of answers."""
    column = score.replace("accuracy", "correct")
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

    `weights` [B, C] and `sizes` [C] are those of clusters, or of rows (`sizes` is None) where the
    set has no clusters. `packed` are all answers, a column of result_schemas.OUTCOMES. Resampled
    means are computed once for each arm and kept in `lines`, as resampled seeds are in `seeds`.
    """

    task: str
    item: EvaluationSet
    packed: np.ndarray
    weights: np.ndarray
    sizes: np.ndarray | None
    lines: dict[tuple[str, bytes], np.ndarray] = field(default_factory=dict)
    seeds: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    def of_answers(self, packed: np.ndarray) -> "Bootstrap":
        """Return the same resampled rows and seeds for other answers of the same runs."""
        return replace(self, packed=packed, lines={})

    @property
    def clusters(self) -> int:
        """Return how many clusters, or rows, are resampled."""
        return self.weights.shape[1]

    def line(self, runs: np.ndarray, side: str) -> np.ndarray:
        """Return the resampled mean [B] over the seeds whose answers are `runs`, rows of outcomes.

        Arms of one `side` share the resampled seeds; those of different sides do not.
        """
        key = (side, runs.tobytes())
        if key not in self.lines:
            correct = unpack(self.packed[runs], len(self.item.labels))
            if self.sizes is not None:
                correct = stats.cluster_sums(correct, self.item.clusters, len(self.sizes))
            means = stats.resampled_means(correct, self.sizes, self.weights)
            self.lines[key] = stats.over_seeds(means, self._seed_weights(len(runs), side))
        return self.lines[key]

    def _seed_weights(self, seeds: int, side: str) -> np.ndarray:
        key = (side, seeds)
        if key not in self.seeds:
            rng = generator("bootstrap", self.task, self.item.name, "seeds", side, seeds)
            self.seeds[key] = stats.seed_weights(rng, len(self.weights), seeds)
        return self.seeds[key]


def bootstrap_of(
    task: str, item: EvaluationSet, outcomes: pd.DataFrame, resamples: int = RESAMPLES
) -> Bootstrap:
    """Draw the resampled rows of an evaluation set; clusters (templates) are drawn whole.

    A set that is made from templates, each of one gold label, is balanced by design: its clusters
    are drawn label by label. Else the share of labels would vary between resamples, and with it the
    difference of two methods that favour different answers.
    """
    rng = generator("bootstrap", task, item.name)
    clusters, strata = item.clusters, None
    sizes = None if clusters is None else np.bincount(clusters)
    units = len(item.labels) if sizes is None else len(sizes)
    if sizes is not None:
        strata = np.zeros(units, dtype=np.int64)
        strata[clusters] = item.labels
        if not np.array_equal(strata[clusters], item.labels):
            strata = None
    weights = stats.row_weights(rng, resamples, units, strata)
    return Bootstrap(task, item, outcomes["correct"].to_numpy(dtype=object), weights, sizes)
