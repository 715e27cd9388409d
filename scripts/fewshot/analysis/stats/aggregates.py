"""One number for many runs: robust means over tasks, medians over patterns, who wins how often."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from .intervals import CONFIDENCE, Estimate, wilson_interval

RESAMPLES = 2000


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles over n values; nan where there is none."""

    median: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray
    n: int | np.ndarray


def median_iqr(values: np.ndarray) -> Spread:
    """Return the median and the quartiles over the last axis of `values` [..., n].

    Quartiles interpolate linearly. nan is a missing value: left out and not counted in `n`. The
    summary of T-Few (Liu et al. 2022) is the median over patterns; over draws, of such medians.
    """
    values = np.asarray(values, dtype=float)
    n = (~np.isnan(values)).sum(axis=-1)
    # nanquantile warns of a slice without values; a zero in its place is blanked again below.
    safe = np.where((n == 0)[..., None], 0.0, values)
    blank = np.where(n > 0, 1.0, np.nan)
    low, median, high = (np.nanquantile(safe, q, axis=-1) * blank for q in (0.25, 0.5, 0.75))
    return Spread(median[()], low[()], high[()], n[()])


def interquartile_mean(values: np.ndarray) -> float:
    """Return the mean of the middle half of `values` (runs × tasks, flattened).

    The 25 % trimmed mean: ⌊n/4⌋ values are cut at each end (Agarwal et al. 2021, rliable). nan is
    left out. Raises ValueError where no value remains.
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError("the interquartile mean of no values")
    return float(_middle_means(values[None])[0])


def interquartile_mean_interval(
    values: np.ndarray,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    strata: Sequence | None = None,
) -> Estimate:
    """Return the interquartile mean of `values` [runs, tasks] with its bootstrap interval.

    Runs are resampled within each stratum, for every stratum apart, and the percentiles are taken:
    the stratified bootstrap of Agarwal et al. (2021), whose strata are the tasks, as they are here
    without `strata` [tasks]. Tasks of one stratum have their runs from the same draws, which are
    resampled with all their runs: taken for unrelated, these would make the interval too narrow.
    It describes other draws of the same tasks. nan is a missing run; `n` counts the runs that are
    there. With few runs the interval is too narrow, by about √((r-1)/r) for r draws per stratum.
    """
    mean = interquartile_mean(values)
    values = _runs(values)
    drawn = _resampled(values, strata, rng, resamples)
    low, high = _percentiles(_middle_means(drawn.reshape(resamples, -1)), confidence)
    return Estimate(mean, low, high, int((~np.isnan(values)).sum()))


def mean_improvement(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator,
    shared: bool = True,
    strata: Sequence | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return how often a run of `a` [n, tasks] beats one of `b` [m, tasks], mean over tasks.

    Of each task that is P(a > b) + P(a = b) / 2, over `shared` draws in the same order (as in
    `paired_improvement`) or over all pairs of runs (as in `probability_of_improvement` and Agarwal
    et al. 2021). Draws are resampled as in `interquartile_mean_interval`, of both arms at once
    where they are shared. Where each run of one arm beats the other, all resamples say the same,
    and the interval is the one over draws of these two functions. nan is a missing run; a task
    that one arm lacks is left out; `n` counts the draws, or those of both arms. Raises ValueError
    where no task is left.
    """
    a, b = _runs(a), _runs(b)
    share = float(_better_share(a[None], b[None], shared)[0])
    if np.isnan(share):
        raise ValueError("the probability of improvement needs a task that both arms have")
    counts = [_draws(a + b, strata)] if shared else [_draws(a, strata), _draws(b, strata)]
    if share in (0, 1):
        beats = paired_improvement if shared else probability_of_improvement
        sides = np.full(counts[0], share), np.full(counts[-1], 1 - share)
        low, high = (getattr(beats(*sides, confidence), name) for name in ("low", "high"))
    elif shared:
        both = _resampled(_better(a, b), strata, rng, resamples)
        low, high = _percentiles(_over_tasks(both), confidence)
    else:
        drawn = (_resampled(values, strata, rng, resamples) for values in (a, b))
        low, high = _percentiles(_better_share(*drawn, shared), confidence)
    return Estimate(share, low, high, sum(counts))


def probability_of_improvement(
    a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE
) -> Estimate:
    """Return P(a > b) + P(a = b) / 2 for a run of each arm, with its interval.

    The Mann-Whitney statistic U / (nm) (Agarwal et al. 2021) over `a` [n] and `b` [m]. The interval
    is Newcombe's fifth (2006, part 2), the θ for which |θ̂ - θ| <= z √V(θ) with
    V = θ(1-θ) (1 + N (1-θ)/(2-θ) + N θ/(1+θ)) / (nm), N = (n+m)/2 - 1. It needs no resampling and
    does not shrink to a point where one arm always wins, as a bootstrap does. `Estimate.n` counts
    the values of both arms; nan is left out. Raises ValueError where an arm has no value.
    """
    a, b = (x[~np.isnan(x)] for x in (np.asarray(a, dtype=float), np.asarray(b, dtype=float)))
    if not len(a) or not len(b):
        raise ValueError("the probability of improvement needs a value in each arm")
    share = float(_shares(a[None], b[None])[0])
    z = special.ndtri((1 + confidence) / 2)
    low, high = (_newcombe(share, end, len(a), len(b), z) for end in (0.0, 1.0))
    return Estimate(share, low, high, len(a) + len(b))


def paired_improvement(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Estimate:
    """Return the share of shared draws in which a beats b, a tie counting half.

    `a` and `b` [n] hold one value per seed, in the same order; Wilson's interval (1927) over the
    seeds that both have. Raises ValueError where there is no such seed.
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        raise ValueError("the share of improved draws needs a draw that both arms have")
    wins = float((difference > 0).sum() + (difference == 0).sum() / 2)
    low, high = wilson_interval(wins, len(difference), confidence)
    return Estimate(wins / len(difference), float(low), float(high), len(difference))


def _runs(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise ValueError("values must have the shape runs × tasks")
    return values


def _strata(values: np.ndarray, strata: Sequence | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the tasks of each stratum and its draws: the runs [n] with a value of any of them."""
    labels = range(values.shape[1]) if strata is None else strata
    for label in dict.fromkeys(labels):
        tasks = np.flatnonzero([each == label for each in labels])
        yield tasks, np.flatnonzero(~np.isnan(values[:, tasks]).all(axis=1))


def _draws(values: np.ndarray, strata: Sequence | None) -> int:
    return sum(len(draws) for _, draws in _strata(values, strata))


def _resampled(
    values: np.ndarray, strata: Sequence | None, rng: np.random.Generator, resamples: int
) -> np.ndarray:
    """Return resamples [B, runs, tasks] of `values`, nan where there are fewer draws than runs."""
    found = np.full((resamples, *values.shape), np.nan)
    for tasks, draws in _strata(values, strata):
        if len(draws):
            picked = draws[rng.integers(0, len(draws), (resamples, len(draws)))]
            found[:, : len(draws), tasks] = values[picked][:, :, tasks]
    return found


def _better(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return 1 where a is larger, 1/2 where b is as large, else 0; nan where one is missing."""
    return np.where(np.isnan(a - b), np.nan, (a > b) + (a == b) / 2)


def _better_share(a: np.ndarray, b: np.ndarray, shared: bool) -> np.ndarray:
    """Return the mean over tasks [B] of how often runs of a [B, n, tasks] beat those of b."""
    if shared:
        return _over_tasks(_better(a, b))
    pairs = _better(a[:, :, None], b[:, None])
    return _over_tasks(pairs.reshape(len(a), -1, a.shape[-1]))


def _over_tasks(values: np.ndarray) -> np.ndarray:
    """Return the means over tasks [B] of the means over runs of `values` [B, runs, tasks]."""
    there = ~np.isnan(values)
    runs = there.sum(axis=1)
    means = np.where(there, values, 0).sum(axis=1) / np.maximum(runs, 1)
    tasks = (runs > 0).sum(axis=1)
    return np.where(tasks > 0, means.sum(axis=1) / np.maximum(tasks, 1), np.nan)


def _middle_means(values: np.ndarray) -> np.ndarray:
    """Return the 25 % trimmed means of lines [B, n], each of the values that it has."""
    count = (~np.isnan(values)).sum(axis=1, keepdims=True)
    place = np.arange(values.shape[1])
    middle = (place >= count // 4) & (place < count - count // 4)
    return np.where(middle, np.sort(values, axis=1), 0).sum(axis=1) / middle.sum(axis=1)


def _shares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return P(a > b) + P(a = b) / 2 of lines [B, n] and [B, m]."""
    a, b = a[:, :, None], b[:, None, :]
    return ((a > b).mean(axis=(1, 2)) + (a >= b).mean(axis=(1, 2))) / 2


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    return tuple(float(x) for x in np.quantile(values, [tail, 1 - tail], method="weibull"))


def _newcombe(share: float, end: float, n: int, m: int, z: float) -> float:
    """Return the bound between `share` and `end` by halving the stretch that holds it."""
    extra = (n + m) / 2 - 1
    inside, outside = share, end
    for _ in range(60):
        theta = (inside + outside) / 2
        spread = 1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        if (share - theta) ** 2 <= z**2 * theta * (1 - theta) * spread / (n * m):
            inside = theta
        else:
            outside = theta
    return (inside + outside) / 2
