"""Label counts: answers that look at the labels of the shots and at no text."""

import numpy as np

from .fitted import Fitted


def fit(texts: list[str], gold: np.ndarray, labels: int, settings: dict) -> Fitted:
    """Return the same answer for every row, from the shots' labels `gold` [shots].

    With `answer: shares` a label's probability is its share of the shots, with `majority` it is
    1 / m for each of the m labels that most shots have. Without shots, as in a balanced draw, all
    labels are alike. A label that no shot has is impossible. Labels of evaluation rows are not
    looked at: how often the most frequent one is right there is what tables call majority.
    """
    counts = np.bincount(gold, minlength=labels).astype(np.float64)
    if settings["answer"] == "majority":
        counts = (counts == counts.max()).astype(np.float64)
    elif not counts.any():
        counts += 1
    with np.errstate(divide="ignore"):
        logprobs = np.log(counts / counts.sum())
    return Fitted(lambda rows: np.tile(logprobs, (len(rows), 1)), labels, labels)
