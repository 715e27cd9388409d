"""Adjusted p-values for a family of tests; nan marks a test that could not be made."""

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down method (1979), in the shape of `p`.

    With p sorted, the j-th of m becomes the running maximum of min(1, (m - j + 1) · p_(j)). A
    result below α keeps the chance of any false rejection below α under any dependence. nan stays
    nan and does not count as a test.
    """

    def adjust(ordered: np.ndarray) -> np.ndarray:
        return np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))

    return _adjusted(p, adjust)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Benjamini and Hochberg (1995), in the shape of `p`.

    With p sorted, the j-th of m becomes the running minimum from the end of m · p_(j) / j. A result
    below α keeps the expected share of false ones among the rejections below α for independent or
    positively dependent tests. nan stays nan and does not count as a test.
    """

    def adjust(ordered: np.ndarray) -> np.ndarray:
        scaled = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p, adjust)


def _adjusted(p: np.ndarray, adjust) -> np.ndarray:
    p = np.asarray(p, dtype=float)
    known = np.flatnonzero(~np.isnan(p.ravel()))
    values = p.ravel()[known]
    if ((values < 0) | (values > 1)).any():
        raise ValueError("a p-value lies outside [0, 1]")
    order = known[np.argsort(values, kind="stable")]
    result = np.full(p.size, np.nan)
    result[order] = np.minimum(adjust(p.ravel()[order]), 1)
    return result.reshape(p.shape)
