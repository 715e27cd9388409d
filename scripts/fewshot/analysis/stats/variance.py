"""Where the variance of a score comes from: draws of shots, patterns, evaluation rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from scipy import special

from .intervals import CONFIDENCE
from .square_sums import SquareSum, effect_squares


@dataclass(frozen=True)
class Sensitivity:
    """How far patterns are apart, averaged over `seeds` draws of `patterns` patterns each."""

    spread: float
    sd: float
    patterns: int
    seeds: int


def component_sums(
    values: np.ndarray, factors: Sequence[str], nested: tuple[str, str] | None = None
) -> dict[frozenset[str], SquareSum]:
    """Return each variance component as a signed sum of mean squares, by the set of its factors.

    `values` has one axis per name in `factors`, such as ("pattern", "seed", "row"), whose effects
    are random and crossed, and one score per cell. With M_v the mean square of the effect v, the
    component of u is Σ_{v ⊇ u} (-1)^{|v|-|u|} M_v over the number of cells per level of u (Searle,
    Casella and McCulloch 1992, chapter 4; Cornfield and Tukey 1956). That of all factors holds the
    noise too. Means over axes are all that is computed, so 3 × 10 × 30,000 answers take
    milliseconds. Factors with one level have no component.

    `nested` = (inner, outer): levels of `inner` lie within those of `outer`, as the first order of
    one draw has nothing to do with the first of another. Every effect of `inner` is then one of
    `outer` too, with the squares of both pooled, and the sum leaves out v that has both where u
    has neither. Raises ValueError for nan, since seeds that are missing are to be left out for all
    patterns, and where axes and factors differ in number.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != len(factors):
        raise ValueError(f"{values.ndim} axes do not fit the factors {', '.join(factors)}")
    if np.isnan(values).any():
        raise ValueError("a score is missing; leave its seed out of every pattern")
    levels = dict(zip(factors, values.shape, strict=True))
    sums, df = _sums_of_squares(values, factors)
    if nested:
        sums, df = (_pooled(each, *nested) for each in (sums, df))
    degrees = np.array(list(df.values()), dtype=float)
    squares = np.array(list(sums.values())) / degrees
    both = frozenset(nested or ())
    found = {}
    for effect in sums:
        cells = values.size / _levels(effect, levels)
        signs = [
            (-1) ** len(v - effect) if effect <= v and not (both and both <= v - effect) else 0
            for v in sums
        ]
        found[effect] = SquareSum(np.array(signs) / cells, squares, degrees)
    return found


GROUPS = 20
"""Parts into which the levels of an axis are cut at most, each of which is left out once."""


def crossed_jackknife(
    estimate: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    axes: Sequence[int],
    confidence: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return t intervals of `estimate(values)` [E] by leaving out levels of crossed axes in turn.

    The variance is the sum over `axes` of the jackknife's, (g - 1) / g Σ (θ_(i) - mean)² with g
    parts of the levels (Efron and Stein 1981), which is too large by what levels of two axes make
    together; the degrees of freedom are Satterthwaite's, and at least the fewest g - 1. Unlike χ²
    bounds of mean squares it holds for answers, which are 0 or 1: one draw with more right has
    another variance of its answers, too. Bounds are nan where an axis has fewer than three levels
    and where no estimate changes.
    """
    middle = np.asarray(estimate(values), dtype=float)
    if min(values.shape[axis] for axis in axes) < 3:
        return (np.full_like(middle, np.nan),) * 2
    spreads = [_left_out(estimate, values, axis) for axis in axes]
    variances = np.array([variance for variance, _ in spreads])
    df = np.array([count - 1.0 for _, count in spreads])
    total = variances.sum(axis=0)
    squares = (variances**2 / df[:, None]).sum(axis=0)
    whole = np.divide(total**2, squares, out=np.full_like(total, df.min()), where=squares > 0)
    error = np.sqrt(np.where(total > 0, total, np.nan))
    half = special.stdtrit(np.maximum(whole, df.min()), (1 + confidence) / 2) * error
    return middle - half, middle + half


def _left_out(
    estimate: Callable[[np.ndarray], np.ndarray], values: np.ndarray, axis: int
) -> tuple[np.ndarray, int]:
    """Return the jackknife's variance over one axis, and how many parts were left out."""
    count = min(GROUPS, values.shape[axis])
    part = np.arange(values.shape[axis]) % count
    found = [estimate(np.compress(part != i, values, axis=axis)) for i in range(count)]
    return (count - 1) * np.var(found, axis=0), count


def prompt_sensitivity(values: np.ndarray) -> Sensitivity:
    """Return how much the choice of pattern matters: mean over seeds of max - min, and of the sd.

    `values` [P] or [P, S] holds a score per pattern (and seed); the sd over patterns has the
    divisor P - 1. A seed that lacks a pattern (nan) is left out, since a range over fewer patterns
    is smaller; `seeds` counts the others. nan where no seed or one pattern remains.
    """
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    values = values[:, ~np.isnan(values).any(axis=0)]
    patterns, seeds = values.shape
    if patterns < 2 or not seeds:
        return Sensitivity(float("nan"), float("nan"), patterns, seeds)
    return Sensitivity(
        float(np.ptp(values, axis=0).mean()),
        float(values.std(axis=0, ddof=1).mean()),
        patterns,
        seeds,
    )


def _sums_of_squares(
    values: np.ndarray, factors: Sequence[str]
) -> tuple[dict[frozenset[str], float], dict[frozenset[str], int]]:
    """Return sum of squares and degrees of freedom of every effect of factors with two levels."""
    levels = values.shape
    axes = [axis for axis, size in enumerate(levels) if size > 1]
    squares = effect_squares((values - values.mean())[..., None], axes)
    squares = {each: squares[each] for each in sorted(squares, key=lambda e: (len(e), e)) if each}
    df = {effect: prod(levels[axis] - 1 for axis in effect) for effect in squares}
    names = {effect: frozenset(factors[axis] for axis in effect) for effect in squares}
    sums = {names[each]: value * values.size * df[each] for each, value in squares.items()}
    return sums, {names[each]: count for each, count in df.items()}


def _pooled(of: dict[frozenset[str], float], inner: str, outer: str) -> dict[frozenset[str], float]:
    """Return what effects have where each with `inner` is added to the same one with `outer`."""
    pooled: dict[frozenset[str], float] = {}
    for effect, value in of.items():
        into = effect | {outer} if inner in effect else effect
        pooled[into] = pooled.get(into, 0) + value
    return pooled


def _levels(effect: Iterable[str], levels: Mapping[str, int]) -> int:
    return prod(levels[name] for name in effect)
