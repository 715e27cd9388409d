"""Where the variance of a score comes from: draws of shots, patterns, evaluation rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


@dataclass(frozen=True)
class Component:
    """The variance that one factor, or one meeting of factors, adds to a single score.

    `raw` is the unbiased estimate, which may be negative; `variance` is max(raw, 0), `share` its
    part of the sum over components, and `of_mean` what it adds to the variance of the overall mean:
    variance over the number of levels that were averaged. All are nan for a factor with one level.
    """

    raw: float
    variance: float
    share: float
    of_mean: float


@dataclass(frozen=True)
class Sensitivity:
    """How far patterns are apart, averaged over `seeds` draws of `patterns` patterns each."""

    spread: float
    sd: float
    patterns: int
    seeds: int


def variance_components(values: np.ndarray, factors: Sequence[str]) -> dict[str, Component]:
    """Split the variance of crossed random effects, by expected mean squares.

    `values` has one axis per name in `factors`, such as ("pattern", "seed", "row"), and one score
    per cell. The result has a component for each factor, for each meeting of some ("pattern:seed")
    and, last, for that of all, which holds the noise too and is called "residual". With M_v the
    mean square of the effect v, the one of u is Σ_{v ⊇ u} (-1)^{|v|-|u|} M_v over the number of
    cells per level of u (Searle, Casella and McCulloch 1992, chapter 4; Cornfield and Tukey 1956).
    Means over axes are all that is computed, so 3 × 10 × 30,000 answers take milliseconds. Raises
    ValueError for nan: seeds that are missing are to be left out for all patterns.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != len(factors):
        raise ValueError(f"{values.ndim} axes do not fit the factors {', '.join(factors)}")
    if np.isnan(values).any():
        raise ValueError("a score is missing; leave its seed out of every pattern")
    axes = [axis for axis, size in enumerate(values.shape) if size > 1]
    squares = _mean_squares(values, axes)
    raw = {}
    for effect in _subsets(range(values.ndim)):
        above = [v for v in squares if set(effect) <= set(v)]
        signed = sum((-1) ** (len(v) - len(effect)) * squares[v] for v in above)
        has_axes = set(effect) <= set(axes)
        raw[effect] = signed / _cells(values.shape, effect) if has_axes else float("nan")
    total = sum(max(value, 0) for value in raw.values() if not np.isnan(value))
    return {
        _name(effect, factors): _component(value, total, _levels(values.shape, effect))
        for effect, value in raw.items()
    }


def nested_components(
    values: np.ndarray, factors: Sequence[str], inner: str, outer: str
) -> dict[frozenset[str], float]:
    """Return the unbiased estimates of `variance_components` where levels of `inner` lie within
    those of `outer`: the first order of one draw has nothing to do with the first of another.

    By effect, the set of its factors; every one with `inner` has `outer`. A crossed component c of
    `inner` without `outer` has no place in this model. Pooling its mean square with that of the
    same effect within `outer` adds c to the latter, and moves c over the number of levels of
    `inner` from the effect of `outer` without `inner` to that without both, so that the estimates
    are those of the nested analysis of variance (tested by hand and against a mixed model).
    """
    whole = frozenset(factors)
    found = {
        whole if name == "residual" else frozenset(name.split(":")): part.raw
        for name, part in variance_components(values, factors).items()
    }
    levels = np.shape(values)[list(factors).index(inner)]
    for effect in [each for each in found if inner in each and outer not in each]:
        crossed, without = found.pop(effect), effect - {inner}
        found[effect | {outer}] += crossed
        found[without | {outer}] -= crossed / levels
        if without:
            found[without] += crossed / levels
    return found


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


def _subsets(items: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the subsets that are not empty, smaller ones first."""
    items = list(items)
    return [part for size in range(1, len(items) + 1) for part in combinations(items, size)]


def _mean_squares(values: np.ndarray, axes: list[int]) -> dict[tuple[int, ...], float]:
    """Return the mean square of every effect among `axes`.

    The sum of squares of an effect is that of its table of means less those of the effects within.
    """
    values = values - values.mean()  # keeps the sums small, so that differences stay exact
    sums = {}
    for effect in _subsets(axes):
        others = tuple(axis for axis in range(values.ndim) if axis not in effect)
        means = values.mean(axis=others)
        within = sum(sums[part] for part in _subsets(effect)[:-1])
        sums[effect] = float((means**2).sum()) * _cells(values.shape, effect) - within
    return {
        effect: total / np.prod([values.shape[axis] - 1 for axis in effect])
        for effect, total in sums.items()
    }


def _levels(shape: tuple[int, ...], effect: tuple[int, ...]) -> int:
    return int(np.prod([shape[axis] for axis in effect]))


def _cells(shape: tuple[int, ...], effect: tuple[int, ...]) -> int:
    """Return the number of scores that share a level of an effect."""
    return int(np.prod(shape)) // _levels(shape, effect)


def _name(effect: tuple[int, ...], factors: Sequence[str]) -> str:
    return "residual" if len(effect) == len(factors) else ":".join(factors[i] for i in effect)


def _component(raw: float, total: float, levels: int) -> Component:
    if np.isnan(raw):
        return Component(*[float("nan")] * 4)
    variance = max(raw, 0.0)
    share = variance / total if total > 0 else float("nan")
    return Component(float(raw), float(variance), float(share), float(variance / levels))
