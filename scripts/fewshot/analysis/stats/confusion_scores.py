"""Matthews correlation and F1 of two labels, from which rows are right: linearised and resampled.

Neither is a mean over rows, but both follow from the four shares of a confusion matrix. To first
order each row adds its own part to them (the delta method), and the mean of these parts has the
crossed error of any mean. Resampled they need one product of matrices for all seeds of an arm, as
accuracy does.
"""

import numpy as np

from .bootstrap import cluster_sums, resampled_sums
from .classification import f1, matthews

_BLOCK = 1000
"""Resamples at a time: should their weights have to be float64, 40,000 rows take 320 MB."""
_SCORES = {"mcc": matthews, "f1": f1}


def linearised_metric(name: str, correct: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Return a value of each row whose mean over rows is the score of its seed, float64 [S, R].

    score + ∂score/∂share · (cell of the row - shares): the score and the row's influence on it
    (Hampel 1974). `name`, `correct` [S, R] and `gold` [R] are as `resampled_metric` takes them. A
    score that is undefined is 0 for every row. Raises ValueError as `resampled_metric` does.
    """
    counts = resampled_confusions(correct, gold, np.ones((1, np.shape(correct)[-1])))
    shares = counts[:, 0] / np.shape(correct)[-1]
    slopes = _SLOPES[_known(name)](shares)
    scores = _SCORES[name](shares)
    right = np.asarray(correct, dtype=bool)
    cells = 2 * np.asarray(gold) + np.where(right, gold, 1 - np.asarray(gold))
    slopes = slopes.reshape(len(shares), 4)
    mean = (slopes * shares.reshape(len(shares), 4)).sum(axis=1)
    return (scores - mean)[:, None] + np.take_along_axis(slopes, cells, axis=1)


def _known(name: str) -> str:
    if name not in _SCORES:
        raise ValueError(f"no score '{name}'; valid: {', '.join(_SCORES)}")
    return name


def _f1_slopes(shares: np.ndarray) -> np.ndarray:
    """Return the derivatives of F1 by the shares [S, gold, predicted]; 0 where it is undefined."""
    true, either = shares[:, 1, 1], 2 * shares[:, 1, 1] + shares[:, 0, 1] + shares[:, 1, 0]
    square = np.where(either > 0, either, 1) ** 2
    slopes = np.zeros_like(shares)
    slopes[:, 1, 1] = 2 * (shares[:, 0, 1] + shares[:, 1, 0]) / square
    slopes[:, 0, 1] = slopes[:, 1, 0] = -2 * true / square
    return slopes * (either > 0)[:, None, None]


def _matthews_slopes(shares: np.ndarray) -> np.ndarray:
    """Return the derivatives of Matthews correlation, as `_f1_slopes` those of F1."""
    gold, predicted = shares.sum(axis=2), shares.sum(axis=1)
    product = (gold * predicted).prod(axis=1)
    root = np.sqrt(np.where(product > 0, product, 1))
    score = (shares[:, 0, 0] * shares[:, 1, 1] - shares[:, 0, 1] * shares[:, 1, 0]) / root
    safe = [np.where(product[:, None] > 0, each, 1) for each in (gold, predicted)]
    sides = 1 / safe[0][:, :, None] + 1 / safe[1][:, None, :]
    # The other cell of the diagonal, with the sign that the cell has in the determinant.
    other = shares[:, ::-1, ::-1] * np.array([[1, -1], [-1, 1]])
    slopes = other / root[:, None, None] - score[:, None, None] * sides / 2
    return slopes * (product > 0)[:, None, None]


_SLOPES = {"mcc": _matthews_slopes, "f1": _f1_slopes}


def resampled_metric(
    name: str,
    correct: np.ndarray,
    gold: np.ndarray,
    weights: np.ndarray,
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Return a score of each seed in each resample, float64 [S, B].

    `name` is "mcc" (Matthews correlation) or "f1" (F1 of label 1); the other arguments are those of
    `resampled_confusions`. Where a resample leaves a score undefined it is 0, as `matthews` and
    `f1` have it. `over_seeds` gives the mean over resampled seeds of the scores per seed, which is
    what tables print, and `crossed_bootstrap` compares two arms by it. Raises ValueError for
    another name, and as `resampled_confusions` does.
    """
    return _SCORES[_known(name)](resampled_confusions(correct, gold, weights, clusters))


def resampled_confusions(
    correct: np.ndarray,
    gold: np.ndarray,
    weights: np.ndarray,
    clusters: np.ndarray | None = None,
) -> np.ndarray:
    """Return the confusion matrices of S seeds in B resamples, float64 [S, B, gold, predicted].

    `correct` [S, R] tells which rows are right and `gold` [R] has their labels, 0 or 1: a row that
    is not right was predicted as the other. `weights` [B, C] is from `row_weights`, of rows or,
    with `clusters` [R] (0 .. C - 1), of clusters. Raises ValueError for other labels, for values
    that are not 0 or 1, and for shapes that do not fit.
    """
    correct, gold = np.asarray(correct), np.asarray(gold)
    if correct.ndim != 2 or gold.shape != correct.shape[1:]:
        raise ValueError(
            f"answers of shape {correct.shape} do not fit labels of shape {gold.shape}"
        )
    for what, values in (("gold labels", gold), ("answers", correct)):
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"{what} other than 0 and 1: an error does not tell the prediction")
    of_label = np.stack([gold == 0, gold == 1])
    right = correct.astype(bool)[:, None] & of_label
    lines = np.concatenate([right.reshape(-1, len(gold)), of_label])
    if clusters is not None:
        lines = cluster_sums(lines, clusters, weights.shape[1])
    sums = _in_blocks(lines, weights)
    right, all_rows = sums[:-2].reshape(len(correct), 2, -1), sums[-2:]
    wrong = all_rows - right
    gold_0 = np.stack([right[:, 0], wrong[:, 0]], axis=-1)
    gold_1 = np.stack([wrong[:, 1], right[:, 1]], axis=-1)
    return np.stack([gold_0, gold_1], axis=-2)


def _in_blocks(lines: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return `resampled_sums` [N, B] of `lines` [N, C], some resamples at a time."""
    starts = range(0, len(weights), _BLOCK)
    blocks = [resampled_sums(lines, weights[start : start + _BLOCK]) for start in starts]
    return np.concatenate(blocks, axis=1)
