"""Intervals of one mean and of one share.

The unit is one run (one data seed). These intervals describe the spread that another draw of
demonstrations would cause (`mean_interval`) or independent trials (`wilson_interval`); `crossed`
covers draws and rows at once.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval [low, high] over n values; bounds are nan where there is none.

    What a function for many cells at once returns has arrays as fields.
    """

    mean: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    n: int | np.ndarray


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


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Return how many standard errors an interval reaches to either side of a normal estimate."""
    return float(special.ndtri((1 + confidence) / 2))


def wilson_interval(
    correct: np.ndarray, n: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return Wilson's score interval of a share, elementwise.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = correct / n. Wilson 1927. For n
    independent trials; evaluation rows often are not (`share_bounds`). nan where n = 0.
    """
    correct, n = (np.asarray(values, dtype=float) for values in (correct, n))
    n = np.where(n > 0, n, np.nan)
    z = normal_quantile(confidence)
    p = correct / n
    centre = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Rounding can leave a bound a hair outside [0, 1] where p is 0 or 1.
    bounds = ((centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n))
    return tuple(np.clip(bound, 0, 1) for bound in bounds)
