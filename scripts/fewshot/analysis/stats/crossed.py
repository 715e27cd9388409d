"""The variance of a mean over seeds and evaluation rows, which are crossed: the study's verdict.

Every seed's model answers the same rows, so a score moves with the draw, with the rows, and with
what a draw makes of a row. With the mean squares of seeds, of rows and of both together, the
unbiased estimate of the variance of a mean of S × R answers is (MS_seed + MS_row - MS_both) / (S R)
(Clark 1973; Forster and Dickinson 1976; Raaijmakers et al. 1999). Rows that belong together, such
as those of a template or a premise, are one cluster and take the place of a row (Miller 2024).

Where clusters differ in size, each counts through its residual from the ratio of sums, scaled as in
the jackknife that leaves one cluster out (CV3 of MacKinnon, Nielsen and Webb 2023), and their
effective number is Kish's (1965), (Σ n)² / Σ n². With equal clusters both are what they always are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from .intervals import CONFIDENCE

FLOOR = 0.7
"""The variance is at least this share of its larger part. A sum of mean squares with a negative
sign can fall to zero or below by chance, and the test would then find what is not there. Cutting
each component at zero makes it 1.0, and the test finds 2 to 3 % where it should find 5 %. By
simulation 0.7 keeps both within bounds (tests/slow/test_verdict_calibration.py)."""
FEW = 6
"""Fewer seeds, or clusters, have degrees of freedom after Cochran and Cox (1950)."""
FAR = 0.003
"""The level at which their quantiles are equal: far out, where the p-values are that a correction
for many comparisons looks at."""
ROUNDING = 1e-20
"""A variance of a mean below it is rounding: one answer of 10^5 in one of 100 seeds makes 1e-14."""


@dataclass(frozen=True)
class Parts:
    """What the variance of one mean is estimated from.

    `seeds` [S] are the means of the seeds; `rows` is the variance between clusters of rows of the
    mean over seeds, over their number, with `row_df` degrees of freedom, and `both` that of seeds
    and clusters together. `clusters` is how many there are. One seed leaves `both` 0; one cluster
    leaves `rows` and `both` nan.
    """

    seeds: np.ndarray
    rows: float
    both: float
    row_df: float
    clusters: int

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(self.seeds.mean())

    @property
    def draws(self) -> float:
        """Return the variance of the seeds' means over their number; nan for one seed."""
        count = len(self.seeds)
        return float(self.seeds.var(ddof=1) / count) if count > 1 else float("nan")


@dataclass(frozen=True)
class Error:
    """The standard error of a mean for other draws and other rows, and its degrees of freedom.

    Both are nan where a part cannot be estimated or nothing varies.
    """

    error: float
    df: float


NO_ERROR = Error(float("nan"), float("nan"))


def parts(sums: np.ndarray, sizes: np.ndarray, strata: np.ndarray | None = None) -> Parts:
    """Return the parts of the variance of Σ sums / Σ sizes, averaged over seeds.

    `sums` [S, C] adds up a value of order one, such as the difference of two arms' answers, over
    the rows of each cluster, `sizes` [C] counts these. With `strata` [C] the clusters of each
    stratum vary among themselves, for what a set's design keeps fixed; a stratum needs two.
    """
    sums, sizes = np.asarray(sums, dtype=float), np.asarray(sizes, dtype=float)
    means = sums.sum(axis=1) / sizes.sum()
    members = members_of(strata, len(sizes))
    rows, both, df = np.array([_stratum(sums[:, at], sizes[at]) for at in members]).T
    weights = np.array([sizes[at].sum() for at in members]) / sizes.sum()
    rows, both = weights**2 * rows, weights**2 * both
    df = satterthwaite(rows.sum(), rows, df)
    return Parts(means, float(rows.sum()), float(both.sum()), df, len(sizes))


def members_of(strata: np.ndarray | None, count: int) -> list[np.ndarray]:
    """Return which of `count` clusters each stratum has; all are one where there are none."""
    if strata is None:
        return [np.arange(count)]
    return [np.flatnonzero(np.asarray(strata) == each) for each in np.unique(strata)]


def _stratum(sums: np.ndarray, sizes: np.ndarray) -> tuple[float, float, float]:
    """Return the variances of a stratum's mean between clusters, and between clusters and seeds,
    with the degrees of freedom of the former; nan for one cluster."""
    seeds, count = sums.shape
    if count < 2:
        return (float("nan"),) * 3
    residuals = stratum_residuals(sums, sizes)
    clusters = residuals.mean(axis=0)
    within = ((residuals - clusters) ** 2).sum() / max(seeds - 1, 1)
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    return (clusters**2).sum(), within / seeds, max(effective - 1, 1.0)


def stratum_residuals(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return what clusters add to a mean, [..., C], of `sums` [..., C] and their `sizes` [C].

    Their squares add up to the variance of the mean between clusters; nan for one cluster.
    """
    count = len(sizes)
    if count < 2:
        return np.full(np.shape(sums), np.nan)
    share = sizes / sizes.sum()
    # A cluster pulls the mean towards itself; without it its residual is larger by 1 / (1 - share).
    scale = np.sqrt((count - 1) / count) / (1 - share) / sizes.sum()
    return (sums - sums.sum(axis=-1, keepdims=True) * share) * scale


def combined(terms: Sequence[Parts], weights: Sequence[float]) -> Parts:
    """Return the parts of Σ weight · mean over evaluation sets that share seeds, but no rows.

    That of a gap, with weights 1 and -1, is the difference of two differences. Rows that two sets
    do share (CoLA and CoLA-OOD) make the error of a gap too large.
    """
    weights = np.asarray(weights, dtype=float)
    rows = weights**2 * [term.rows for term in terms]
    return Parts(
        sum(weight * term.seeds for weight, term in zip(weights, terms, strict=True)),
        float(rows.sum()),
        float((weights**2 * [term.both for term in terms]).sum()),
        satterthwaite(rows.sum(), rows, np.array([term.row_df for term in terms])),
        sum(term.clusters for term in terms),
    )


def error_of(found: Parts) -> Error:
    """Return the standard error of a mean for other draws and other rows like these.

    The degrees of freedom are Satterthwaite's (1946) of the two parts. They take each part's share
    as known, which finds too much where few seeds happen to agree; with fewer than FEW seeds or
    clusters they are those whose quantile at FAR is the mean of the parts' own, weighted by the
    parts (Cochran and Cox 1950). One seed leaves the draws out: the error is that of the rows.
    """
    if len(found.seeds) < 2:
        return _error(found.rows, found.row_df)
    both = np.array([found.draws, found.rows])
    return error_from(both, np.array([len(found.seeds) - 1, found.row_df]), found.both)


def error_apart(a: Parts, b: Parts, rows: Parts) -> Error:
    """Return the error of mean(a) - mean(b) of two arms whose seeds are unrelated draws.

    `rows` are the parts of the difference of both arms' means over their own seeds, as one seed:
    the rows are the same, so that they are paired.
    """
    draws = np.array([a.draws, b.draws])
    df = satterthwaite(draws.sum(), draws, np.array([len(a.seeds), len(b.seeds)]) - 1.0)
    variances = np.array([draws.sum(), rows.rows])
    return error_from(variances, np.array([df, rows.row_df]), a.both + b.both)


def error_from(
    variances: np.ndarray, df: np.ndarray, twice: float = 0.0, level: float = FAR
) -> Error:
    """Return the error of a mean from the variances [F] of single factors and their `df` [F].

    `twice` is what the variances count more than once: the part that factors make together. The
    degrees of freedom are those of `error_of`; with few levels quantiles are equal at `level`. Both
    are nan where nothing varies.
    """
    total = max(variances.sum() - twice, FLOOR * variances.max())
    if not total > ROUNDING:
        return NO_ERROR
    if df.min() + 1 < FEW:
        return _error(total, _cochran(variances / variances.sum(), df, level))
    return _error(total, max(satterthwaite(total, variances, df), df.min()))


def _error(variance: float, df: float) -> Error:
    return Error(float(np.sqrt(variance)), float(df)) if variance > ROUNDING else NO_ERROR


def satterthwaite(total: float, variances: np.ndarray, df: np.ndarray) -> float:
    """Return total² / Σ variance² / df; where nothing varies, the degrees of all together.

    Satterthwaite (1946), of the sum or other combination `total` of `variances` [F].
    """
    squares = (variances**2 / df).sum()
    return float(total**2 / squares) if squares > 0 else float(df.sum())


def _cochran(shares: np.ndarray, df: np.ndarray, level: float) -> float:
    """Return the degrees of freedom whose quantile is the mean of those of `df`, by halving."""
    wanted = (shares * special.stdtrit(df, 1 - level / 2)).sum()
    low, high = df.min(), df.max()
    for _ in range(60):
        middle = (low + high) / 2
        if special.stdtrit(middle, 1 - level / 2) > wanted:
            low = middle
        else:
            high = middle
    return float((low + high) / 2)


def t_test(mean: np.ndarray, error: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Return the two-sided p of mean / error, elementwise; nan where there is no error."""
    mean, error, df = (np.asarray(values, dtype=float) for values in (mean, error, df))
    with np.errstate(invalid="ignore"):
        return 2 * special.stdtr(df, -np.abs(mean) / error)


def t_bounds(
    mean: np.ndarray, error: np.ndarray, df: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean ± t · error, elementwise; nan where there is no error."""
    half = special.stdtrit(df, (1 + confidence) / 2) * error
    return mean - half, mean + half


def equivalence_test(
    mean: np.ndarray, error: np.ndarray, df: np.ndarray, margin: float
) -> np.ndarray:
    """Return the p of two one-sided tests that a mean lies within ± margin (Schuirmann 1987).

    The larger of the p of mean > -margin and of mean < margin: below α where the 1 - 2α interval
    lies within the margin. Elementwise; nan where there is no error.
    """
    mean, error, df = (np.asarray(values, dtype=float) for values in (mean, error, df))
    with np.errstate(invalid="ignore"):
        return special.stdtr(df, -(margin - np.abs(mean)) / error)


def share_bounds(
    mean: np.ndarray,
    error: np.ndarray,
    df: np.ndarray,
    clusters: np.ndarray,
    confidence: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of a share from its standard error, within [0, 1], elementwise.

    Wilson's interval (1927) of the effective number of rows, mean (1 - mean) / error², with the
    quantile of Student's t (Korn and Graubard 1998; Dean and Pagano 2015). Where nothing varies,
    as if 7 rows of 7 are right, it is that of as many rows as there are `clusters`: such an
    interval is never a point. nan where the mean is.
    """
    mean, error, df, clusters = (
        np.asarray(values, dtype=float) for values in (mean, error, df, clusters)
    )
    varies = (error > 0) & (mean > 0) & (mean < 1)
    count = np.where(varies, mean * (1 - mean) / np.where(varies, error, 1) ** 2, clusters)
    df = np.where(np.isnan(df), np.maximum(clusters - 1, 1), df)
    z = special.stdtrit(df, (1 + confidence) / 2)
    centre = mean + z**2 / (2 * count)
    half = z * np.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
    bounds = ((centre - half) / (1 + z**2 / count), (centre + half) / (1 + z**2 / count))
    return tuple(np.clip(bound, 0, 1) for bound in bounds)
