"""Scores of a classification from confusion matrices, many at once.

`confusion` [..., L, L] counts rows by gold label (first) and predicted label (second).
"""

import numpy as np


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the share of rows on the diagonal [...]; nan without rows.

    With one label per row this is also the micro-averaged F1.
    """
    confusion = np.asarray(confusion, dtype=float)
    return _ratio(_diagonal(confusion).sum(axis=-1), confusion.sum(axis=(-2, -1)), np.nan)


def matthews(confusion: np.ndarray) -> np.ndarray:
    """Return the Matthews correlation, for more than two labels Gorodkin's R_K (2004) [...].

    (c n - Σ_l t_l p_l) / √((n² - Σ p_l²)(n² - Σ t_l²)) with c rows correct of n, t_l of gold label
    l and p_l predicted as l. 0 where gold or predicted labels are all alike; nan without rows.
    """
    confusion = np.asarray(confusion, dtype=float)
    gold, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    n, correct = gold.sum(axis=-1), _diagonal(confusion).sum(axis=-1)
    above = correct * n - (gold * predicted).sum(axis=-1)
    # Counts are whole numbers, exact in float64 up to 2^53: a difference of zero is exactly zero.
    spread = (n**2 - (predicted**2).sum(axis=-1)) * (n**2 - (gold**2).sum(axis=-1))
    score = _ratio(above, np.sqrt(spread), 0.0)
    return np.where(n > 0, score, np.nan)[()]


def f1(confusion: np.ndarray, positive: int = 1) -> np.ndarray:
    """Return F1 of the label `positive`, 2 TP / (2 TP + FP + FN) [...].

    0 where the label is neither there nor predicted, as in scikit-learn; nan without rows.
    """
    return _f1(np.asarray(confusion, dtype=float))[..., positive][()]


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Return the mean over all labels of F1 [...]; a label that never occurs counts as 0."""
    return _f1(np.asarray(confusion, dtype=float)).mean(axis=-1)[()]


def _f1(confusion: np.ndarray) -> np.ndarray:
    """Return F1 of every label [..., L]."""
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)  # 2 TP + FP + FN
    n = confusion.sum(axis=(-2, -1))
    return np.where(n[..., None] > 0, _ratio(2 * _diagonal(confusion), total, 0.0), np.nan)


def _diagonal(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _ratio(above: np.ndarray, below: np.ndarray, otherwise: float) -> np.ndarray:
    """Return above / below, and `otherwise` where below is 0."""
    below = np.asarray(below)
    return np.where(below > 0, above / np.where(below > 0, below, 1), otherwise)[()]
