"""Tests of a difference between two arms, and their correction for many comparisons."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from .intervals import CONFIDENCE, Estimate, t_interval

TOLERANCE = 1e-12
"""A smaller standard error of scores, which are of order one, is rounding: nothing varies. Equal
differences say nothing of how differences vary, so there is no test: p is nan, never 0."""


@dataclass(frozen=True)
class Test:
    """A two-sided test of a difference: the estimate, t, degrees of freedom and p.

    Without variance t, p and the bounds are nan. `difference.n` counts pairs in a paired test and
    the values of both samples in Welch's.
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
    df = np.where(spread > 0, squared**2 / np.where(spread > 0, spread, 1), na + nb - 2)
    df = np.where(enough, df, np.nan)
    se, difference = np.sqrt(squared), mean_a - mean_b
    half = special.stdtrit(df, (1 + confidence) / 2) * se
    return _test(difference, se, df, difference - half, difference + half, na + nb)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return count, mean and variance (divisor n - 1) of the values that are not nan [..., S]."""
    present = ~np.isnan(values)
    n = present.sum(axis=-1)
    mean = np.where(present, values, 0).sum(axis=-1) / np.where(n > 0, n, np.nan)
    squares = np.where(present, values - mean[..., None], 0) ** 2
    return n, mean, squares.sum(axis=-1) / np.where(n > 1, n - 1, np.nan)


def _test(mean, se, df, low, high, n) -> Test:
    """Return the two-sided p of mean / se; nan, with t and bounds, where nothing varies."""
    varies = se > TOLERANCE
    t = mean / np.where(varies, se, np.nan)
    p = 2 * special.stdtr(df, -np.abs(t))
    blank = np.where(varies, 1.0, np.nan)
    return Test(Estimate(mean, low * blank, high * blank, n), t, df, p)


_BLOCK = 2**22  # assignments times cells that are summed at once: 32 MiB of float64


@dataclass(frozen=True)
class PermutationTest:
    """A two-sided permutation test of paired differences.

    `floor` is the smallest p that these magnitudes could give under any signs, `count` the number
    of sign assignments looked at, `exact` whether these were all, `n` the number of pairs. What
    `permutation_tests` returns has arrays in the place of p, floor, count and n.
    """

    p: float | np.ndarray
    floor: float | np.ndarray
    count: int | np.ndarray
    exact: bool
    n: int | np.ndarray


def permutation_floor(n: int | np.ndarray) -> float | np.ndarray:
    """Return the smallest two-sided p of the sign-flip test of n pairs, 2 / 2^n (at most 1)."""
    return np.minimum(2.0 ** (1 - np.asarray(n, dtype=float)), 1.0)[()]


def holm_floor(n: int | np.ndarray, comparisons: int) -> float | np.ndarray:
    """Return the smallest Holm-adjusted p that the sign-flip test of n pairs can reach.

    min(1, comparisons · 2 / 2^n): Holm (1979) multiplies the smallest p by the number of
    comparisons. Ten seeds and 49 comparisons give 0.096, so nothing can be significant at 0.05.
    """
    return np.minimum(permutation_floor(n) * comparisons, 1.0)[()]


def permutation_tests(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator | None = None,
    most: int = 2**16,
) -> PermutationTest:
    """Test the means of a - b over shared draws by flipping signs. Fisher 1935; Pitman 1937.

    p is the share of sign assignments whose |Σ ± d| reaches |Σ d|. All 2^S assignments are
    enumerated where they are at most `most`; otherwise `most` random ones are drawn with `rng` and
    p = (b + 1) / (most + 1), where b of them reach the observed sum (Phipson and Smyth 2010).

    `a` and `b` [..., S] hold one value per seed on the last axis, nan where it is missing; the
    other axes broadcast. A pair that is not complete is left out. p is nan where no pair is.
    Raises ValueError where random assignments are needed and `rng` is None.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    differences = a - b
    shape, seeds = differences.shape[:-1], differences.shape[-1]
    present = ~np.isnan(differences)
    n = present.sum(axis=-1)
    # A difference of zero contributes nothing under either sign, so that a missing pair repeats
    # every sum as often as every other and leaves p as it is.
    differences = np.where(present, differences, 0.0)
    # Sums of equal value may differ by rounding: n ulp of what was subtracted, far below 1e-12.
    scale = np.where(present, np.abs(a) + np.abs(b), 0.0)
    tolerance = 1e-12 * scale.sum(axis=-1)
    exact = 2**seeds <= most
    signs = _all_signs(seeds) if exact else _random_signs(rng, most, seeds)
    flat = differences.reshape(-1, seeds)
    reached = _reached(flat, signs, tolerance.reshape(-1)).reshape(shape)
    p = reached / len(signs) if exact else (reached + 1) / (len(signs) + 1)
    unequal = (np.abs(differences) > tolerance[..., None]).sum(axis=-1)
    floor = permutation_floor(unequal)
    if not exact:
        floor = np.maximum(floor, 1 / (most + 1))
    blank = np.where(n > 0, 1.0, np.nan)
    count = 2**n if exact else np.full(shape, most)
    return PermutationTest(p * blank, floor * blank, count, exact, n)


def _all_signs(n: int) -> np.ndarray:
    """Return half of the 2^n sign assignments [2^(n-1), n]; the others are their negatives.

    A two-sided test counts an assignment and its negative alike, so half of them do.
    """
    codes = np.arange(2 ** max(n - 1, 0))
    return 1.0 - 2.0 * ((codes[:, None] >> np.arange(n)) & 1)


def _random_signs(rng: np.random.Generator | None, count: int, n: int) -> np.ndarray:
    if rng is None:
        raise ValueError(
            f"{n} pairs have 2^{n} sign assignments; to draw from them a generator is needed"
        )
    return 1.0 - 2.0 * rng.integers(0, 2, (count, n))


def _reached(differences: np.ndarray, signs: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Count, per row of differences [N, S], the signs [M, S] whose sum is as far from zero."""
    reached = np.empty(len(differences), dtype=int)
    step = max(1, _BLOCK // len(signs))
    for start in range(0, len(differences), step):
        block = slice(start, start + step)
        observed = np.abs(differences[block].sum(axis=-1)) - tolerance[block]
        sums = np.abs(differences[block] @ signs.T)
        reached[block] = (sums >= observed[:, None]).sum(axis=-1)
    return reached


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down method (1979), in the shape of `p`.

    With p sorted, the j-th of m becomes the running maximum of min(1, (m - j + 1) · p_(j)). A
    result below α keeps the chance of any false rejection below α under any dependence. nan stays
    nan and does not count as a test.
    """

    def adjust(ordered: np.ndarray) -> np.ndarray:
        return np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))

    return _adjusted(p, adjust)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Benjamini and Hochberg (1995), in the shape of `p`.

    With p sorted, the j-th of m becomes the running minimum from the end of m · p_(j) / j. A result
    below α keeps the expected share of false ones among the rejections below α for independent or
    positively dependent tests. nan stays nan and does not count as a test.
    """

    def adjust(ordered: np.ndarray) -> np.ndarray:
        scaled = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
        return np.minimum.accumulate(scaled[::-1])[::-1]

    return _adjusted(p, adjust)


def _adjusted(p: np.ndarray, adjust) -> np.ndarray:
    p = np.asarray(p, dtype=float)
    present = np.flatnonzero(~np.isnan(p.ravel()))
    values = p.ravel()[present]
    if ((values < 0) | (values > 1)).any():
        raise ValueError("a p-value lies outside [0, 1]")
    order = present[np.argsort(values, kind="stable")]
    result = np.full(p.size, np.nan)
    result[order] = np.minimum(adjust(p.ravel()[order]), 1)
    return result.reshape(p.shape)
