"""Probabilities of labels from stored scores, and predictions without a bias towards one answer.

A model that favours one label word, whatever the text, answers badly although its scores may tell
the labels apart. A calibration takes out what the model gives the labels anyway, so that a label
that is always likely has to be likelier still. Three divide the probabilities of the labels:

- "batch": by their mean over the evaluation rows (Zhou et al. 2024, arXiv 2309.17249, gamma = 1).
  It reads all evaluation rows, though not their labels: it is transductive, and expects each label
  about equally often.
- "contextual": by their mean over inputs without content behind the same demonstrations, or in the
  same trained model (Zhao et al. 2021, arXiv 2102.09690: W = diag(p)⁻¹, b = 0).
  Each input's probabilities are made to sum to one before the mean.
- "pmi": by what an empty input gets there: pointwise mutual information of input and label word,
  conditional on the rest of the prompt (Holtzman et al. 2021, arXiv 2104.08315).

Two are fitted to the k shots alone, each scored by what is learned from others
(`analysis.held_out`), and so need no other row; a shot of every label must be among them:

- "bias": a number for each word is added to what words are ranked by, such that the right words of
  the shots become most probable among the words (maximum likelihood). The first word's is 0.
- "affine": logistic regression (multinomial, L2 penalty with C = 1) of the right words on what all
  words are ranked by, less its mean over a row's words.

Where several words count as one label of a set, batch calibration is of labels, with their words'
probabilities added up; the others are of words, which count as their labels afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..prompts.patterns import best_words

FITTED = ("bias", "affine")
CALIBRATIONS = ("batch", "contextual", "pmi", *FITTED)
PENALTY = 1.0
"""C of the logistic regression."""
EXACT = {"gtol": 1e-10, "max_trust_radius": 100.0, "maxiter": 1000}
"""Where the search for the likeliest bias ends, and its largest step: words differ by tens."""
DIGITS = 12
"""Decimals to which calibrated probabilities are compared."""


def label_weights(ranks: Sequence[np.ndarray], merge: Sequence[int], labels: int) -> np.ndarray:
    """Return how likely each label is, the likeliest word of a row being 1, [rows, labels].

    What words are ranked by (their log-probability, its mean over their tokens or characters, or
    that of the text behind them) is added up, as probabilities, over the words that count as the
    same label of the set.
    """
    best = np.maximum.reduce(ranks)
    # Where every word is impossible none is more likely than another.
    best = np.where(np.isneginf(best), 0, best)
    weights = np.zeros((len(best), labels), dtype=np.float64)
    for label, values in zip(merge, ranks, strict=True):
        weights[:, label] += np.exp(values - best)
    return weights


def probabilities(weights: np.ndarray) -> np.ndarray:
    """Return the probability of each label given that one of the words is said, [rows, labels]."""
    total = weights.sum(axis=1, keepdims=True)
    equal = np.full_like(weights, 1 / weights.shape[1])
    return np.divide(weights, total, out=equal, where=total > 0)


def log_odds(weights: np.ndarray) -> np.ndarray:
    """Return the log-odds of each label against all others, [rows, labels].

    Unlike probabilities they do not round to 1 where a model is sure.
    """
    others = [np.delete(weights, label, axis=1).sum(axis=1) for label in range(weights.shape[1])]
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(weights) - np.log(np.stack(others, axis=1))
    return np.where(np.isnan(odds), 0.0, odds)


def batch_labels(shares: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return each row's label after batch calibration, int64 [rows].

    `shares` [rows, labels] are the probabilities of a set's labels, `ids` [rows] the rows' ids, by
    which ties are broken.
    """
    return _likeliest(shares, shares.mean(axis=0), ids)


def contextual_words(
    ranks: Sequence[np.ndarray], content_free: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    """Return each row's label word after contextual calibration, int64 [rows].

    `ranks` has an array [rows] per label word, `content_free` [inputs, words] are the same of
    inputs without content; with an empty one alone this is the ranking by mutual information.
    """
    words = range(len(ranks))
    expected = probabilities(label_weights(list(np.transpose(content_free)), words, len(words)))
    shares = probabilities(label_weights(ranks, words, len(words)))
    return _likeliest(shares, expected.mean(axis=0), ids)


def _likeliest(shares: np.ndarray, expected: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the column with the largest share / expected; what is never expected is not said.

    Quotients that differ by rounding alone are ties: else all of them would go to one label.
    """
    divided = np.divide(shares, expected, out=np.zeros_like(shares), where=expected > 0)
    return best_words(list(divided.round(DIGITS).T), ids)


@dataclass(frozen=True)
class FittedToShots:
    """A map of what words are ranked by, less its mean over a row's words: `weights` [words, words]
    times that, plus `bias` [words]."""

    weights: np.ndarray
    bias: np.ndarray

    def words(self, ranks: Sequence[np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return each row's label word, int64 [rows]; `ranks` has an array [rows] per word."""
        mapped = _centred(np.stack(ranks, axis=1)) @ self.weights.T + self.bias
        return best_words(list(mapped.round(DIGITS).T), ids)


def fit_to_shots(ranks: np.ndarray, labels: np.ndarray) -> dict[str, FittedToShots]:
    """Return the calibrations FITTED to held-out shots, by name.

    `ranks` [rows, words] is what their words are ranked by, `labels` [rows] the right ones. Nothing
    where a word is right for no row, or impossible: its number would have no bound.
    """
    words = ranks.shape[1]
    if set(labels) != set(range(words)) or not np.isfinite(ranks).all():
        return {}
    return {
        "bias": FittedToShots(np.eye(words), _likeliest_bias(_centred(ranks), labels)),
        "affine": _logistic(_centred(ranks), labels),
    }


def _centred(ranks: np.ndarray) -> np.ndarray:
    return ranks - ranks.mean(axis=1, keepdims=True)


def _likeliest_bias(ranks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the b [words], the first 0, with the largest sum of log softmax(ranks + b)[label].

    There is one: the sum is concave, and falls without bound as any word's number goes away.
    """
    # Imported here, as below: studies without held-out shots need not wait.
    from scipy.optimize import minimize

    right = np.eye(ranks.shape[1])[labels]

    def shares(b: np.ndarray) -> np.ndarray:
        return probabilities(_exponentials(ranks + np.append(0.0, b)))

    def loss(b: np.ndarray) -> float:
        moved = ranks + np.append(0.0, b)
        return float((np.logaddexp.reduce(moved, axis=1) - (moved * right).sum(axis=1)).mean())

    def slope(b: np.ndarray) -> np.ndarray:
        return (shares(b) - right).mean(axis=0)[1:]

    def bend(b: np.ndarray) -> np.ndarray:
        p = shares(b)[:, 1:]
        return np.diag(p.mean(axis=0)) - p.T @ p / len(p)

    start = np.zeros(ranks.shape[1] - 1)
    found = minimize(loss, start, method="trust-exact", jac=slope, hess=bend, options=EXACT)
    return np.append(0.0, found.x)


def _exponentials(values: np.ndarray) -> np.ndarray:
    return np.exp(values - values.max(axis=1, keepdims=True))


def _logistic(ranks: np.ndarray, labels: np.ndarray) -> FittedToShots:
    """Return the map of the most probable regression, whose coefficients are penalised."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=PENALTY, max_iter=1000).fit(ranks, labels)
    weights, bias = fitted.coef_, fitted.intercept_
    if len(weights) == 1:  # Of two words, those of the second against the first.
        weights, bias = (np.concatenate([np.zeros_like(each), each]) for each in (weights, bias))
    return FittedToShots(weights, bias)
