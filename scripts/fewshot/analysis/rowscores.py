"""Scores of a run beyond accuracy: from counts by label, and from its row predictions.

With two labels the counts of rows and of correct rows by gold label are the whole confusion matrix,
so that Matthews correlation and F1 are known for every epoch of a curve. With more labels, and for
calibration, row predictions are needed.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import stats

if TYPE_CHECKING:
    from .evaluation import EvaluationSet
    from .predictions import Scored

BINS = 15
NAMES = ["mcc", "f1", "macro_f1", "brier", "ece"]
"""Matthews correlation, F1 of label 1 (two labels only), mean of the labels' F1, Brier score and
expected calibration error."""
POSITIVE = 1


def scores(scored: "Scored", item: "EvaluationSet") -> dict[str, float]:
    """Return the scores NAMES of one evaluation set's predictions; `f1` is nan for 3 labels and up.

    Probabilities are those of the label words alone (see `probabilities`). The confidence of the
    calibration error is the probability of the predicted label.
    """
    labels = item.label_count
    shares = probabilities(scored.ranks, item.merge, labels)
    confidence = np.take_along_axis(shares, scored.predicted[:, None], axis=1)[:, 0]
    codes = scored.gold * labels + scored.predicted
    confusion = np.bincount(codes, minlength=labels**2).reshape(labels, labels)
    return of_confusion(confusion) | {
        "brier": stats.brier(shares, scored.gold),
        "ece": stats.calibration_error(confidence, scored.correct, BINS),
    }


def of_confusion(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return `mcc`, `f1` and `macro_f1` of confusion matrices [..., gold, predicted]."""
    # For one matrix a number, as the others are: an array of none would be an object in a frame.
    none = np.full(confusion.shape[:-2], np.nan)[()]
    return {
        "mcc": stats.matthews(confusion),
        "f1": stats.f1(confusion, POSITIVE) if confusion.shape[-1] == 2 else none,
        "macro_f1": stats.macro_f1(confusion),
    }


def probabilities(ranks: list[np.ndarray], merge: tuple[int, ...], labels: int) -> np.ndarray:
    """Return the probability of each label given that one of the words is said, [rows, labels].

    softmax over the words of what they are ranked by (their log-probability, or its mean over
    their tokens), added up over the words that count as the same label of the set.
    """
    best = np.maximum.reduce(ranks)
    # Where every word is impossible none is more likely than another.
    best = np.where(np.isneginf(best), 0, best)
    found = np.zeros((len(best), labels), dtype=np.float64)
    for label, values in zip(merge, ranks, strict=True):
        found[:, label] += np.exp(values - best)
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=np.full_like(found, 1 / labels), where=total > 0)


def add_scores(
    rows: pd.DataFrame,
    by_label: pd.DataFrame,
    scored: pd.DataFrame,
    labels: Mapping[str, int],
) -> pd.DataFrame:
    """Return overall metric rows with the columns NAMES.

    `rows` have job, selection, seed, epoch, evaluation_set and n, `by_label` the same counts by
    label. `scored` is that of `predictions.score_predictions` with a job; its scores count where
    they rest on as many rows (a curve's sample has fewer). `labels` gives each set's number of
    labels.
    """
    keys = ["job", "seed", "epoch", "evaluation_set"]
    rows = rows.merge(scored[[*keys, "n", *NAMES]], on=[*keys, "n"], how="left")
    two = rows["evaluation_set"].map(labels).eq(2).to_numpy()
    if two.any():
        found = of_confusion(_confusions(rows, by_label))
        rows = rows.assign(**{name: np.where(two, found[name], rows[name]) for name in found})
    return rows


def _confusions(rows: pd.DataFrame, by_label: pd.DataFrame) -> np.ndarray:
    """Return the confusion matrices [rows, 2, 2] of rows with two labels, from counts by label."""
    keys = ["job", "selection", "seed", "epoch", "evaluation_set"]
    place = pd.MultiIndex.from_frame(rows[keys]).get_indexer(
        pd.MultiIndex.from_frame(by_label[keys])
    )
    label = by_label["label"].to_numpy(dtype=np.int64)
    right = by_label["correct"].to_numpy()
    two = label < 2
    confusion = np.zeros((len(rows), 2, 2), dtype=np.int64)
    np.add.at(confusion, (place[two], label[two], label[two]), right[two])
    wrong = (by_label["n"].to_numpy() - right)[two]
    np.add.at(confusion, (place[two], label[two], 1 - label[two]), wrong)
    return confusion
