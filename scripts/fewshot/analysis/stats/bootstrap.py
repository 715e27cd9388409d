"""The crossed bootstrap over rows and seeds, the check of the crossed error."""

from dataclasses import dataclass

import numpy as np

from .intervals import CONFIDENCE, Estimate

_EXACT = 2**24  # whole numbers up to here are exact in float32


@dataclass(frozen=True)
class BootstrapTest:
    """A two-sided bootstrap test: the difference, p, the smallest p possible, the resamples.

    `difference.n` is the number of seeds.
    """

    difference: Estimate
    p: float | np.ndarray
    floor: float
    resamples: int


def bootstrap_floor(resamples: int) -> float:
    """Return the smallest two-sided p that so many resamples can give, 2 / (resamples + 1)."""
    return min(1.0, 2 / (resamples + 1))


def row_weights(
    rng: np.random.Generator, resamples: int, units: int, strata: np.ndarray | None = None
) -> np.ndarray:
    """Draw how often each row, or each cluster of rows, is in each resample: float32 [B, units].

    Each line is multinomial, `units` draws with replacement; with `strata` [units] the units of
    each stratum are drawn among themselves, for what a set's design keeps fixed. All arms and seeds
    of an evaluation set must share one draw, which is what makes their differences paired by row.
    """
    strata = np.zeros(units, dtype=int) if strata is None else np.asarray(strata)
    weights = np.empty((resamples, units), dtype=np.float32)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        for line in weights:
            line[members] = np.bincount(
                rng.integers(0, len(members), len(members)), minlength=len(members)
            )
    return weights


def seed_weights(rng: np.random.Generator, resamples: int, seeds: int) -> np.ndarray:
    """Draw the weight of each seed in each resample: float64 [B, S], each line with sum 1.

    w = (1 + √(S / X) (m - 1)) / S with multinomial counts m and X ~ χ²_{S-1}, one per resample.
    Plain counts (X = S) spread a mean of S seeds by √((S-1)/S) too little, and with the tails of a
    normal distribution; at ten seeds a nominal 95 % interval then covers about 90 %. Dividing by
    √X, as Student's t divides by the estimated deviation, mends both: without row effects the
    resampled mean is about mean + t_{S-1} · sd / √S, so that also small p-values, which a
    correction for many comparisons looks at, mean what they say. A weight may be negative.

    One seed has weight 1: for k = 0 nothing is drawn and rows alone are resampled. For a single
    run of a cell that does draw, such an interval leaves the draw out.
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    stretch = np.sqrt(seeds / rng.chisquare(seeds - 1, resamples))
    return (1 + stretch[:, None] * (counts - 1)) / seeds


def cluster_sums(values: np.ndarray, clusters: np.ndarray, count: int) -> np.ndarray:
    """Add `values` [..., R] within clusters 0 .. count - 1, given per row [R]: float64 [..., C]."""
    values = np.asarray(values)
    lines = values.reshape(-1, values.shape[-1])
    sums = [np.bincount(clusters, weights=line, minlength=count) for line in lines]
    return np.array(sums).reshape(*values.shape[:-1], count)


def resampled_sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sums of `values` [..., C] over resampled units with `weights` [B, C]: [..., B].

    Whole numbers (and booleans) are added in float32 as long as no sum can exceed 2^24, which is
    exact and twice as fast; everything else in float64. Scores that are no means follow from sums
    too: those of a confusion matrix's counts, resampled, give its Matthews correlation.
    """
    values = np.asarray(values)
    whole = values.dtype.kind in "bui" or np.array_equal(values, np.rint(values))
    largest = weights.sum(axis=1).max() * np.abs(values).max(initial=0)
    kind = np.float32 if whole and largest < _EXACT else np.float64
    return (values.astype(kind) @ weights.astype(kind, copy=False).T).astype(float)


def resampled_means(
    correct: np.ndarray, sizes: np.ndarray | None, weights: np.ndarray
) -> np.ndarray:
    """Return the means per seed over resampled units, float64 [..., S, B].

    `correct` [..., S, C] holds a value per row, or its sums per cluster with the clusters' `sizes`
    [C]; `weights` [B, C] is from `row_weights`. With clusters, which are resampled whole, the
    statistic is the ratio Σ w · sum / Σ w · size, so that large clusters count for more, as they
    do in the plain mean. Few clusters c understate the spread by √((c-1)/c).
    """
    if sizes is None:
        return resampled_sums(correct, weights) / np.asarray(weights).shape[1]
    return resampled_sums(correct, weights) / resampled_sums(sizes, weights)


def over_seeds(means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the means over resampled seeds of `means` [..., S, B], weighted by [B, S]: [..., B].

    Raises ValueError for another number of seeds and for nan: a missing seed is to be left out
    (of both arms of a pair), with weights for as many seeds as remain.
    """
    if means.shape[-2:] != weights.T.shape:
        raise ValueError(f"means of shape {means.shape} do not fit {weights.shape[1]} seeds")
    if np.isnan(means).any():
        raise ValueError("a seed without result among the resampled means; leave it out")
    return np.einsum("...sb,bs->...b", means, weights)


def bootstrap_interval(
    estimate: np.ndarray,
    resampled: np.ndarray,
    n: int | np.ndarray,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Return the percentile interval of `estimate` [...] from its resampled values [..., B].

    The bounds are the resampled values of rank (B + 1) α/2 and (B + 1)(1 - α/2) (Davison and
    Hinkley 1997, 5.3), cut at `bounds`. Percentiles, not the basic interval, whose asymmetry points
    the wrong way for skewed statistics (Hesterberg 2015), and no bias correction: means over rows
    and seeds have no bias to correct. `n` is the number of seeds, reported with the interval.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=-1, method="weibull")
    low, high = (np.clip(bound, *bounds)[()] for bound in (low, high))
    return Estimate(np.asarray(estimate, dtype=float)[()], low, high, n)


def bootstrap_tests(
    estimate: np.ndarray,
    resampled: np.ndarray,
    n: int | np.ndarray,
    confidence: float = CONFIDENCE,
) -> BootstrapTest:
    """Test whether differences are zero from their resampled values [..., B].

    p = 2 min(1 + #{d* <= 0}, 1 + #{d* >= 0}) / (B + 1), at most 1: the smallest α whose percentile
    interval leaves out zero. `estimate` [...] holds the differences as observed.
    """
    resampled = np.asarray(resampled, dtype=float)
    resamples = resampled.shape[-1]
    tail = np.minimum((resampled <= 0).sum(axis=-1), (resampled >= 0).sum(axis=-1))
    p = np.minimum(2 * (tail + 1) / (resamples + 1), 1.0)[()]
    interval = bootstrap_interval(estimate, resampled, n, confidence)
    return BootstrapTest(interval, p, bootstrap_floor(resamples), resamples)


def crossed_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    estimate: np.ndarray,
    n: int | np.ndarray,
    confidence: float = CONFIDENCE,
) -> BootstrapTest:
    """Test the difference of two arms from the resampled mean of each, a and b [..., B].

    Both are from `over_seeds` of `resampled_means` with the same row weights, which pairs them by
    row. Over shared draws both have the same seeds, in the same order, and the same seed weights,
    which pairs them by seed too; where the draws are unrelated, each has seed weights of its own.
    `estimate` [...] is the difference as observed, `n` the number of seeds.
    """
    return bootstrap_tests(estimate, np.asarray(a) - np.asarray(b), n, confidence)
