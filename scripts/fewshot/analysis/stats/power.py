"""What a study can find before it is run: the power of the crossed test and of equivalence tests.

The variance of a mean over S draws, for other draws and other rows, is
(draws + both) / S + rows: more draws shrink the first term alone. The expected mean squares of such
a study give the standard error and the degrees of freedom that `error_of` would find, and the test
statistic is Student's t, noncentral where there is a difference. That takes the estimated degrees
of freedom as known, and means as normal; tests compare the result with simulated studies of answers
that are 0 or 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from .crossed import error_from

POWER, ALPHA = 0.8, 0.05
MOST_SEEDS = 1000
"""The largest study that is looked for."""
ENDLESS = 10**9
"""Seeds of a study in which draws add nothing."""
NODES = 400
CHANCES, WEIGHTS = (np.polynomial.legendre.leggauss(NODES) + np.array([[1], [0]])) / 2
"""Where and with which weights an integral over chances from 0 to 1 is taken."""


@dataclass(frozen=True)
class Sources:
    """Where the difference of two mean scores varies, as variances of the difference.

    `draws` is that between draws; `rows` that by the choice of evaluation rows, which is the same
    for every draw; `both` what this choice adds for a single draw besides. `row_df` are the degrees
    of freedom of rows, clusters less one. With draws that are not shared (`apart`) each method has
    half of `draws`.
    """

    draws: float
    rows: float
    both: float
    row_df: float
    apart: bool = False


@dataclass(frozen=True)
class Expected:
    """The standard error that a study is expected to have.

    `df` are the degrees of freedom of its estimate, `test_df` those of the test's quantile, which
    are fewer where there are few draws or clusters (`crossed.FEW`).
    """

    error: float
    df: float
    test_df: float


def sources_of(
    draw_part: np.ndarray,
    row_part: np.ndarray,
    both_part: np.ndarray,
    seeds: np.ndarray,
    row_df: float,
    apart: bool = False,
) -> Sources:
    """Return the sources of comparisons whose `Parts` over `seeds` draws have these variances.

    The first four are arrays [N]: E draw_part = (draws + both) / S, E row_part = rows + both / S
    and E both_part = both / S. Estimates may be negative, so that their mean over comparisons is
    taken before it is cut at 0.
    """
    draw_part, row_part, both_part, seeds = (
        np.asarray(values, dtype=float) for values in (draw_part, row_part, both_part, seeds)
    )
    draws = max(float(np.mean((draw_part - both_part) * seeds)), 0.0)
    rows = max(float(np.mean(row_part - both_part)), 0.0)
    return Sources(draws, rows, float(np.mean(both_part * seeds)), row_df, apart)


def expected_error(sources: Sources, seeds: int) -> Expected:
    """Return the error of a study of so many seeds; all nan for one seed and where nothing varies.

    `error_from` of the expected mean squares, and Satterthwaite's degrees of freedom of these.
    """
    if seeds < 2:
        return Expected(*[float("nan")] * 3)
    both = sources.both / seeds
    sides = 2 if sources.apart else 1
    draws = [sources.draws / seeds / sides + both / sides] * sides
    variances = np.array([*draws, sources.rows + both])
    df = np.array([*[seeds - 1.0] * sides, sources.row_df])
    found = error_from(variances, df, both)
    with np.errstate(invalid="ignore"):
        own = found.error**4 / (variances**2 / df).sum()
    return Expected(found.error, float(own), found.df)


def difference_power(found: Expected, difference: float, alpha: float = ALPHA) -> float:
    """Return the chance that the two-sided test finds a true difference, in the error's unit.

    P(|T| > t_{1-α/2}) where T is noncentral t with noncentrality difference / error (Cohen 1988).
    """
    bound = special.stdtrit(found.test_df, 1 - alpha / 2) * _spread(found.df)
    shift = difference / found.error
    return float(WEIGHTS @ (special.ndtr(shift - bound) + special.ndtr(-shift - bound)))


def equivalence_power(
    found: Expected, margin: float, alpha: float = ALPHA, difference: float = 0.0
) -> float:
    """Return the chance that two one-sided tests show a difference to lie within ± margin.

    P(|mean| < margin - t_{1-α} s) with s² = error² χ²(df) / df, independent of the mean: the exact
    power (Phillips 1990), not the approximation by two noncentral t.
    """
    bound = special.stdtrit(found.test_df, 1 - alpha) * _spread(found.df)
    room, shift = margin / found.error - bound, difference / found.error
    held = special.ndtr(room - shift) - special.ndtr(-room - shift)
    return float(WEIGHTS @ np.maximum(held, 0.0))


def _spread(df: float) -> np.ndarray:
    """Return √(χ² / df) at the nodes: the estimated error over the true one.

    Sums over nodes with WEIGHTS are integrals over its distribution (Gauss and Legendre). The
    noncentral t of scipy has no value in some tails.
    """
    return np.sqrt(special.chdtri(df, 1 - CHANCES) / df)


def detectable_difference(found: Expected, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the true difference that is found with chance `power`; nan without an error."""
    return _root(found, lambda size: difference_power(found, size, alpha) - power)


def provable_margin(found: Expected, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the margin within which two equal scores are shown to be with chance `power`."""
    return _root(found, lambda size: equivalence_power(found, size, alpha) - power)


def _root(found: Expected, excess: Callable[[float], float]) -> float:
    """Return where an increasing function of a size, in the error's unit, is 0."""
    if np.isnan(found.error):
        return float("nan")
    high = found.error
    while excess(high) < 0:
        high *= 2
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-9 * high))


def seeds_needed(
    sources: Sources, power_of: Callable[[Expected], float], power: float = POWER
) -> int | None:
    """Return the fewest seeds, of 2 to MOST_SEEDS, with which `power_of` reaches `power`.

    None where these are not enough, as the rows allow no more or as draws differ too much. Power
    grows with seeds, so that halving finds them.
    """
    low, high = 1, MOST_SEEDS

    def reached(seeds: int) -> bool:
        return power_of(expected_error(sources, seeds)) >= power

    if not reached(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
