"""Logistic regression on whatever is known of the shots, by scikit-learn."""

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from .fitted import Fitted

ITERATIONS = 1000
"""Steps of L-BFGS at most; scikit-learn's 100 are few for some draws."""
CHUNK = 4096
"""Rows answered at once, which bounds memory: they are standardised in double precision."""


def fit_logistic(
    shots: object, gold: np.ndarray, labels: int, settings: dict, features: Callable, numbers: int
) -> Fitted:
    """Fit multinomial logistic regression with an L2 penalty to features of the shots.

    `shots` [shots, width], a matrix or a sparse one, are the features of the shots and `gold`
    [shots] their labels; `features` makes the same of other rows, for which `numbers` are kept.
    L-BFGS with `inverse_penalty` as C, all else as in scikit-learn (its C is the weight of the loss
    against half the squared norm; the bias is not penalised). A label that no shot has is
    impossible; where all shots have the same one, that is every row's answer. One thread fits: the
    same bytes on every machine of a kind.
    """
    present = np.unique(gold)
    model = LogisticRegression(C=settings["inverse_penalty"], max_iter=ITERATIONS)
    if len(present) > 1:
        with threadpool_limits(1):
            model.fit(shots, gold)

    def answer(rows: object) -> np.ndarray:
        logprobs = np.full((len(rows), labels), -np.inf)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            with threadpool_limits(1):
                logprobs[part, present] = _log_probabilities(model, features(rows[part]), present)
        return logprobs

    if len(present) == 1:
        return Fitted(answer, 0, 1)
    parameters = model.coef_.size + model.intercept_.size
    return Fitted(answer, parameters, parameters + numbers, int(model.n_iter_.max()))


def _log_probabilities(
    model: LogisticRegression, features: object, present: np.ndarray
) -> np.ndarray:
    """Return log-probabilities of the labels `present` [rows, labels], finite however small."""
    if len(present) == 1:
        return np.zeros((features.shape[0], 1))
    scores = model.decision_function(features)
    if scores.ndim == 1:  # of two labels, that of the second against the first
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
