"""Scores of a classifier: accuracy, Matthews correlation, F1, Brier score, calibration error, and
the area under the ROC curve."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


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


_SLACK = 1e-5  # exp of a float32 log-probability may exceed 1 by this little


@dataclass(frozen=True)
class Reliability:
    """Rows, mean confidence and accuracy per bin of confidence; nan in empty bins."""

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Return the expected calibration error Σ_b n_b / n · |accuracy_b - confidence_b|."""
        filled = self.count > 0
        if not filled.any():
            return float("nan")
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.count[filled] * gaps).sum() / self.count.sum())


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Reliability:
    """Sort rows into bins of equal width by the confidence in the predicted label.

    `confidence` [n] is the probability of the prediction, `correct` [n] whether it is right. Bin m
    of M holds ((m-1)/M, m/M], as in Guo et al. 2017. Raises ValueError for a confidence outside
    [0, 1], or nan.
    """
    confidence = _probabilities(confidence)
    correct = np.asarray(correct)
    if correct.shape != confidence.shape or confidence.ndim != 1:
        raise ValueError("a reliability diagram needs one confidence and one outcome per row")
    index = np.ceil(confidence * bins).astype(np.int64) - 1
    np.clip(index, 0, bins - 1, out=index)
    count = np.bincount(index, minlength=bins)
    counted = np.where(count > 0, count, np.nan)
    means = (np.bincount(index, weights=x, minlength=bins) / counted for x in (confidence, correct))
    return Reliability(count, *means)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error (ECE) of Guo et al. 2017, nan for no rows.

    Σ_b n_b / n · |accuracy_b - confidence_b| over the bins of `reliability`. It depends on the
    number of bins and is biased upwards for few rows: compare like with like.
    """
    return reliability(confidence, correct, bins).error


def brier(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over rows of Σ_l (p_l - [l = label])², nan for no rows. Brier 1950.

    `probabilities` [n, L] sum to one over the labels, `labels` [n] are 0 .. L - 1. This is Brier's
    own convention, from 0 to 2; with two labels it is twice (p_1 - label)², which others report.
    Raises ValueError for a value outside [0, 1], or nan.
    """
    probabilities, labels = _probabilities(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError("the Brier score needs a probability per label and a label per row")
    if not len(labels):
        return float("nan")
    # Σ_l (p_l - [l = y])² = Σ_l p_l² - 2 p_y + 1, without a table of indicators.
    squares = np.einsum("nl,nl->", probabilities, probabilities)
    gold = np.take_along_axis(probabilities, labels[:, None].astype(np.intp), axis=1).sum()
    return float((squares - 2 * gold) / len(labels) + 1)


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve and its standard error over rows; nan where there is none."""

    area: float
    error: float


def roc_area(scores: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None) -> Area:
    """Return the area under the ROC curve of `scores` [n, L] for gold `labels` [n].

    `scores` of a label say how much more likely than the others it is. The area is the probability
    that a row of the label has a higher score than a row of another, a tie counting half; with more
    than two labels it is the mean over those that some rows have and others have not (one against
    the rest). No bias towards a label changes it where there are two. The error is DeLong's (1988),
    of the mean by adding up what each row contributes; nan where a label has one row only. With
    `clusters` [n], from 0, rows of one vary together (Obuchowski 1997), and a label needs two.
    """
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    clusters = np.arange(len(labels)) if clusters is None else clusters
    columns = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    found = [_one_area(scores[:, label], labels == label, clusters) for label in columns]
    found = [each for each in found if each is not None]
    if not found:
        return Area(np.nan, np.nan)
    areas, contributions = zip(*found, strict=True)
    by_cluster = np.bincount(clusters, weights=np.mean(contributions, axis=0))
    return Area(float(np.mean(areas)), float(np.sqrt(np.square(by_cluster).sum())))


def _one_area(
    scores: np.ndarray, inside: np.ndarray, clusters: np.ndarray
) -> tuple[float, np.ndarray] | None:
    """Return the area of one label, and by how much each row [n] moves it, scaled so that squares
    of the clusters' sums add up to its variance; None where all rows have the label, or none."""
    m, n = int(inside.sum()), int((~inside).sum())
    if not m or not n:
        return None
    ranks = rankdata(scores)
    share = np.empty(len(scores))
    # Of each row with the label, the share of the others below it; of each other, of those above.
    share[inside] = (ranks[inside] - rankdata(scores[inside])) / n
    share[~inside] = 1 - (ranks[~inside] - rankdata(scores[~inside])) / m
    area = share[inside].mean()
    scales = [_correction(clusters[rows]) / rows.sum() for rows in (inside, ~inside)]
    return area, (share - area) * np.where(inside, *scales)


def _correction(clusters: np.ndarray) -> float:
    """Return √(C / (C - 1)) of C clusters, nan of one, which does not tell how clusters vary."""
    count = np.count_nonzero(np.bincount(clusters))
    return float(np.sqrt(count / (count - 1))) if count > 1 else float("nan")


def _probabilities(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.size and not (values.min() >= -_SLACK and values.max() <= 1 + _SLACK):
        raise ValueError("a probability lies outside [0, 1]")
    return values
