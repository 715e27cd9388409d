"""t-tests of a difference between two arms, for one pair or for whole matrices of pairs.

A seed that is missing is nan. It is left out, together with its partner in a paired test, and
`Estimate.n` tells how many values remain.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from .intervals import CONFIDENCE, Estimate, t_interval


@dataclass(frozen=True)
class Test:
    """A two-sided test of a difference: the estimate, t, degrees of freedom and p.

    `difference.n` counts pairs in a paired test and the values of both samples in Welch's.
    """

    difference: Estimate
    t: float | np.ndarray
    df: float | np.ndarray
    p: float | np.ndarray

    __test__ = False  # pytest would collect it by its name


def paired_tests(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Test:
    """Test the means of a - b over shared draws: t = d̄ / (s_d / √n), df = n - 1. Student 1908.

    `a` and `b` [..., S] hold one value per seed on the last axis, in the same order of seeds; the
    other axes broadcast. The fields of the result are arrays [...], nan where fewer than two
    pairs are complete.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, mean, variance = _moments(a - b)
    df = np.where(n > 1, n - 1, np.nan)
    se = np.sqrt(variance / np.maximum(n, 1))
    low, high = t_interval(mean, np.sqrt(variance), n, confidence)
    return _test(mean, se, df, low, high, n)


def welch_tests(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Test:
    """Test mean(a) - mean(b) of independent samples with unequal variances (Welch 1947).

    t = (ā - b̄) / √(s_a²/n_a + s_b²/n_b), with the degrees of freedom of Welch and Satterthwaite,
    (s_a²/n_a + s_b²/n_b)² / ((s_a²/n_a)² / (n_a - 1) + (s_b²/n_b)² / (n_b - 1)). This is the test
    published by Mosbach et al. (2023) for in-context learning against fine-tuning.

    `a` [..., S] and `b` [..., T] hold one value per seed on the last axis; the other axes
    broadcast. The fields of the result are arrays [...], nan where a sample has fewer than two
    values.
    """
    (na, mean_a, va), (nb, mean_b, vb) = (_moments(np.asarray(x, dtype=float)) for x in (a, b))
    enough = (na > 1) & (nb > 1)
    va, vb = va / np.maximum(na, 1), vb / np.maximum(nb, 1)
    squared = va + vb
    spread = va**2 / np.maximum(na - 1, 1) + vb**2 / np.maximum(nb - 1, 1)
    # Two constant samples: no variance, any df gives the same answer.
    df = np.where(spread > 0, squared**2 / np.where(spread > 0, spread, 1), na + nb - 2)
    df = np.where(enough, df, np.nan)
    se, difference = np.sqrt(squared), mean_a - mean_b
    half = special.stdtrit(df, (1 + confidence) / 2) * se
    return _test(difference, se, df, difference - half, difference + half, na + nb)


def paired_difference(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Test:
    """Test the mean of a - b of one pair of arms by `paired_tests`.

    `a` and `b` [n] hold one value per seed, in the same order of seeds. Raises ValueError where
    fewer than two pairs are complete.
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise ValueError("a paired test needs values of the same seeds")
    return _single(
        paired_tests(a, b, confidence),
        "a paired test needs at least two values each, of the same seeds",
    )


def welch_test(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Test:
    """Test mean(a) - mean(b) of one pair of arms by `welch_tests`.

    Raises ValueError where a sample has fewer than two values.
    """
    test = welch_tests(np.ravel(a), np.ravel(b), confidence)
    return _single(test, "Welch's test needs at least two values in each sample")


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return count, mean and variance (divisor n - 1) of the values that are not nan [..., S]."""
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    mean = np.where(known, values, 0).sum(axis=-1) / np.where(n > 0, n, np.nan)
    squares = np.where(known, values - mean[..., None], 0) ** 2
    return n, mean, squares.sum(axis=-1) / np.where(n > 1, n - 1, np.nan)


def _test(mean, se, df, low, high, n) -> Test:
    """Return the two-sided p of mean / se; without spread p is 1 or 0."""
    flat = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    t = np.where(se > 0, mean / np.where(se > 0, se, 1), flat)
    t = np.where(np.isnan(df), np.nan, t)
    # stdtr has no value at infinity.
    p = np.where(np.isinf(t), 0.0, 2 * special.stdtr(df, -np.abs(np.where(np.isinf(t), 0, t))))
    return Test(Estimate(mean, low, high, n), t, df, p)


def _single(test: Test, otherwise: str) -> Test:
    """Return a test of one pair with plain numbers; raise ValueError where there is no result."""
    if np.isnan(test.df):
        raise ValueError(otherwise)
    mean, low, high = (float(getattr(test.difference, name)) for name in ("mean", "low", "high"))
    estimate = Estimate(mean, low, high, int(test.difference.n))
    return Test(estimate, float(test.t), float(test.df), float(test.p))
