"""The sign-flip test of paired differences, and the smallest p that it can reach.

Under the null hypothesis the two arms are exchangeable within a shared draw, so the sign of each
difference is a fair coin. With n draws there are 2^n assignments and p cannot fall below 2 / 2^n,
however large the effect is.
"""

from dataclasses import dataclass

import numpy as np

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
    known = ~np.isnan(differences)
    n = known.sum(axis=-1)
    # A difference of zero contributes nothing under either sign, so that a missing pair repeats
    # every sum as often as every other and leaves p as it is.
    differences = np.where(known, differences, 0.0)
    # Sums of equal value may differ by rounding: n ulp of what was subtracted, far below 1e-12.
    scale = np.where(known, np.abs(a) + np.abs(b), 0.0)
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


def permutation_test(
    a: np.ndarray,
    b: np.ndarray,
    rng: np.random.Generator | None = None,
    most: int = 2**16,
) -> PermutationTest:
    """Test the mean of a - b of one pair of arms by `permutation_tests`.

    `a` and `b` [n] hold one value per seed, in the same order of seeds, nan where it is missing.
    Raises ValueError where no pair is complete, or random signs are needed and `rng` is None.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError("a permutation test of pairs needs values of the same seeds")
    known = ~np.isnan(a - b)
    if not known.any():
        raise ValueError("a permutation test needs at least one pair")
    test = permutation_tests(a[known], b[known], rng, most)
    return PermutationTest(
        float(test.p), float(test.floor), int(test.count), test.exact, int(test.n)
    )


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
