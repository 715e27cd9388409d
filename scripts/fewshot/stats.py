"""Statistics over runs: pure functions of arrays that know nothing of files or models.

The unit is one run (one data seed). Intervals describe the spread that another draw of
demonstrations would cause; they say nothing about another evaluation set.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval [low, high] over n values; the bounds are nan where n < 2."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Test:
    """A two-sided test of a difference: the estimate, t, degrees of freedom and p."""

    difference: Estimate
    t: float
    df: float
    p: float

    __test__ = False  # pytest would collect it by its name


def t_interval(
    mean: np.ndarray, sd: np.ndarray, n: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds mean ± t_{n-1, (1 + confidence)/2} · sd / √n, elementwise.

    `sd` is the sample standard deviation (divisor n - 1). Student 1908. Where n < 2 there is no
    spread to estimate and both bounds are nan.
    """
    mean, sd, n = (np.asarray(values, dtype=float) for values in (mean, sd, n))
    df = np.where(n > 1, n - 1, np.nan)
    half = special.stdtrit(df, (1 + confidence) / 2) * sd / np.sqrt(np.where(n > 1, n, np.nan))
    return mean - half, mean + half


def mean_interval(
    values: np.ndarray,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return the mean of `values` [n] with Student's t interval (see `t_interval`).

    With `bounds`, such as (0, 1) for an accuracy, the interval is cut there: what lies outside is
    impossible, so the cut keeps the coverage. Raises ValueError for no values.
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        raise ValueError("the mean of no values")
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    low, high = t_interval(mean, sd, len(values), confidence)
    return Estimate(mean, *(float(np.clip(x, *bounds)) for x in (low, high)), len(values))


def wilson_interval(
    correct: np.ndarray, n: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of a share, elementwise.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = correct / n. Wilson 1927. It covers
    the choice of evaluation rows, for scores that depend on no draw (k = 0). nan where n = 0.
    """
    correct, n = (np.asarray(values, dtype=float) for values in (correct, n))
    n = np.where(n > 0, n, np.nan)
    z = special.ndtri((1 + confidence) / 2)
    p = correct / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Rounding can leave a bound a hair outside [0, 1] where p is 0 or 1.
    bounds = ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    return tuple(np.clip(bound, 0, 1) for bound in bounds)


def paired_difference(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Test:
    """Test the mean of a - b over shared draws: t = d̄ / (s_d / √n), df = n - 1.

    `a` and `b` [n] hold one value per seed, in the same order of seeds. Student 1908.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or len(a) < 2:
        raise ValueError("a paired test needs at least two values each, of the same seeds")
    estimate = mean_interval(a - b, confidence)
    se = (a - b).std(ddof=1) / np.sqrt(len(a))
    return _test(estimate, se, len(a) - 1)


def welch_test(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Test:
    """Test mean(a) - mean(b) of independent samples with unequal variances (Welch 1947).

    t = (ā - b̄) / √(s_a²/n_a + s_b²/n_b); Welch-Satterthwaite degrees of freedom. This is the test
    published by Mosbach et al. (2023) for in-context learning against fine-tuning.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2:
        raise ValueError("Welch's test needs at least two values in each sample")
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    se = np.sqrt(va + vb)
    # Two constant samples: no variance, any df gives the same answer.
    df = se**4 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)) if se > 0 else len(a) + len(b) - 2
    difference = float(a.mean() - b.mean())
    half = special.stdtrit(df, (1 + confidence) / 2) * se
    estimate = Estimate(difference, difference - half, difference + half, len(a) + len(b))
    return _test(estimate, se, df)


def _test(estimate: Estimate, se: float, df: float) -> Test:
    """Return the two-sided p of difference / se; without spread p is 1 or 0."""
    if se > 0:
        t = estimate.mean / se
    else:
        t = float(np.copysign(np.inf, estimate.mean)) if estimate.mean else 0.0
    return Test(estimate, float(t), float(df), float(2 * special.stdtr(df, -abs(t))))
