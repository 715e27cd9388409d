"""Mean squares, and intervals of their signed sums, such as variance components.

A component is estimated by some mean squares less others, which no single χ² describes. The
modified large-sample method takes the bounds of a large sample and changes their constants so that
they are exact where all but one of the mean squares vanish (Ting, Burdick, Graybill, Jeyaratnam
and Lu 1990; Burdick and Graybill 1992, section 3.3). It supposes independent mean squares of
normal effects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import special

from .intervals import CONFIDENCE


def effect_squares(values: np.ndarray, axes: Sequence[int]) -> dict[tuple[int, ...], float]:
    """Return the mean square of the effect of every set of `axes` of `values` [..., C], over the
    number of their cells and summed over the last axis; for no axis that of the mean."""
    if not axes:
        return {(): float((values**2).sum())}
    axis, *rest = axes
    count = values.shape[axis]
    mean = values.mean(axis=axis, keepdims=True)
    apart = effect_squares(values - mean, rest)
    within = {(axis, *effect): value / (count * (count - 1)) for effect, value in apart.items()}
    return effect_squares(mean, rest) | within


@dataclass(frozen=True)
class SquareSum:
    """Σ weight · mean square over M independent mean squares, with `df` degrees of freedom each.

    All three are arrays [M]; a weight may be negative.
    """

    weights: np.ndarray
    squares: np.ndarray
    df: np.ndarray

    @property
    def value(self) -> float:
        """Return the sum, which is unbiased and may be negative."""
        return float(self.weights @ self.squares)

    def plus(self, other: "SquareSum") -> "SquareSum":
        """Return the sum of two sums of the same mean squares."""
        return SquareSum(self.weights + other.weights, self.squares, self.df)


def square_sum_interval(found: SquareSum, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the bounds of a sum of mean squares, cut at 0, by the modified large-sample method.

    value - √V_L and value + √V_U. Of one mean square M alone they are the exact χ² bounds
    df · M / χ²; the interval keeps its level about where there are more. Both are nan where nothing
    varies, since all mean squares are 0.
    """
    if not found.squares.any():
        return float("nan"), float("nan")
    terms, tail = found.weights * found.squares, (1 - confidence) / 2
    plus, minus = found.weights > 0, found.weights < 0
    sides = [(terms[plus], found.df[plus]), (-terms[minus], found.df[minus])]
    low = found.value - np.sqrt(max(_spread(*sides, tail), 0.0))
    # The upper bound is the lower one of the negative sum, with its sign changed.
    high = found.value + np.sqrt(max(_spread(*sides[::-1], tail), 0.0))
    return max(float(low), 0.0), max(float(high), 0.0)


def _spread(
    above: tuple[np.ndarray, np.ndarray], below: tuple[np.ndarray, np.ndarray], tail: float
) -> float:
    """Return V, whose root lies between Σ above - Σ below and its lower bound.

    Each side has its terms, all positive, and their degrees of freedom. With F the quantiles that
    are exceeded with chance `tail`, and chance 1 - `tail` in H: G = 1 - 1 / F(n, ∞),
    H = 1 / F(n, ∞) - 1, G_qr = ((F(q, r) - 1)² - G_q² F(q, r)² - H_r²) / F(q, r), and of two terms
    above G*_qt = ((1 - 1 / F(q + t, ∞))² (q + t)² / (q t) - G_q² q / t - G_t² t / q) / (P - 1).
    """
    (terms, df), (others, other_df) = above, below
    g, h = _below_one(df, tail), _above_one(other_df, tail)
    total = (g**2 * terms**2).sum() + (h**2 * others**2).sum()
    for i, term in enumerate(terms):
        f = special.fdtri(df[i], other_df, 1 - tail)
        mixed = ((f - 1) ** 2 - g[i] ** 2 * f**2 - h**2) / f
        total += term * (mixed * others).sum()
    for i, j in combinations(range(len(terms)), 2):
        n, m = df[i], df[j]
        both = _below_one(n + m, tail) ** 2 * (n + m) ** 2 / (n * m)
        mixed = (both - g[i] ** 2 * n / m - g[j] ** 2 * m / n) / (len(terms) - 1)
        total += mixed * terms[i] * terms[j]
    return float(total)


def _below_one(df: np.ndarray, tail: float) -> np.ndarray:
    """Return 1 - 1 / F(df, ∞), F being exceeded with chance `tail`; F(n, ∞) is χ²(n) / n."""
    return 1 - df / special.chdtri(df, tail)


def _above_one(df: np.ndarray, tail: float) -> np.ndarray:
    """Return 1 / F(df, ∞) - 1, F being exceeded with chance 1 - `tail`."""
    return df / special.chdtri(df, 1 - tail) - 1
