"""One number for many runs: robust means over tasks, medians over patterns, who wins how often."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from .intervals import CONFIDENCE, Estimate, wilson_interval


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
    resamples: int = 2000,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return the interquartile mean of `values` [runs, tasks] with its bootstrap interval.

    Runs are resampled within each task, for every task apart (the stratified bootstrap of Agarwal
    et al. 2021), and the percentiles are taken. It describes other draws of the same tasks. nan is
    a missing run; `n` counts the runs that are there. With few runs the interval is too narrow,
    by about √((r-1)/r) for r runs per task.
    """
    mean = interquartile_mean(values)
    tasks = _tasks(values)
    drawn = [_resample(task, rng, resamples) for task in tasks]
    means = _middle_means(np.concatenate(drawn, axis=1))
    low, high = _percentiles(means, confidence)
    return Estimate(mean, low, high, sum(map(len, tasks)))


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


def _tasks(values: np.ndarray) -> list[np.ndarray]:
    """Return the values that are there of each task, a column of `values` [runs, tasks]."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 2:
        raise ValueError("values must have the shape runs × tasks")
    return [column[~np.isnan(column)] for column in values.T]


def _resample(values: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    if not len(values):
        return np.empty((resamples, 0))
    return values[rng.integers(0, len(values), (resamples, len(values)))]


def _middle_means(values: np.ndarray) -> np.ndarray:
    """Return the 25 % trimmed means of lines [B, n]."""
    cut = values.shape[1] // 4
    return np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1)


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
