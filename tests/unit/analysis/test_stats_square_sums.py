"""Intervals of variance components: exact cases by scipy, and coverage by simulation."""

import numpy as np
import pytest
from fewshot.analysis import stats
from scipy import special
from scipy import stats as reference

F = reference.f
ENDLESS = 10_000_000


def interval(weights, squares, df, **options):
    arrays = [np.asarray(each, dtype=float) for each in (weights, squares, df)]
    return stats.square_sum_interval(stats.SquareSum(*arrays), **options)


@pytest.mark.parametrize("df", [1, 4, 19, 29_999])
@pytest.mark.parametrize("confidence", [0.95, 0.9])
def test_of_one_mean_square_the_interval_is_exact(df, confidence):
    low, high = interval([0.5], [3.0], [df], confidence=confidence)
    ends = reference.chi2.ppf([(1 + confidence) / 2, (1 - confidence) / 2], df)
    assert (low, high) == pytest.approx(0.5 * 3.0 * df / ends)


@pytest.mark.parametrize(("n", "m"), [(4, 1104), (9, 80), (2, 6)])
def test_a_bound_is_zero_where_the_f_test_of_a_component_is_at_its_edge(n, m):
    """Exact where one mean square less another is just significant, above and below."""
    edge = F.ppf([0.025, 0.975], n, m)
    assert interval([0.1, -0.1], [edge[1], 1.0], [n, m])[0] == pytest.approx(0, abs=1e-6)
    assert interval([0.1, -0.1], [edge[1] * 1.01, 1.0], [n, m])[0] > 0
    assert interval([0.1, -0.1], [edge[0], 1.0], [n, m])[1] == pytest.approx(0, abs=1e-6)
    assert interval([0.1, -0.1], [edge[0] * 1.01, 1.0], [n, m])[1] > 0


def test_two_mean_squares_by_the_published_formula():
    """Burdick and Graybill 1992, written out with scipy's F; the term H_12 is part of V_U."""
    c, (a, b), (n, m), tail = 0.05, (0.09, 0.026885), (5, 18), 0.025
    above, below = F.isf(tail, n, m), F.isf(1 - tail, n, m)
    g1, g2 = (1 - 1 / F.isf(tail, df, ENDLESS) for df in (n, m))
    h1, h2 = (1 / F.isf(1 - tail, df, ENDLESS) - 1 for df in (n, m))
    g12 = ((above - 1) ** 2 - g1**2 * above**2 - h2**2) / above
    h12 = ((1 - below) ** 2 - h1**2 * below**2 - g2**2) / below
    lower = g1**2 * a**2 + h2**2 * b**2 + g12 * a * b
    upper = h1**2 * a**2 + g2**2 * b**2 + h12 * a * b
    expected = (max(c * (a - b - lower**0.5), 0), c * (a - b + upper**0.5))
    assert interval([c, -c], [a, b], [n, m]) == pytest.approx(expected, rel=1e-4)


def test_a_sum_of_two_alike_is_that_of_both_pooled():
    """The term G* makes the bound of M_1 + M_2 exact where both estimate the same."""
    low = interval([0.5, 0.5], [2.0, 2.0], [8, 8])[0]
    assert low == pytest.approx(2.0 * 16 / reference.chi2.ppf(0.975, 16))


def covered(draw, estimate, truth, tables: int) -> np.ndarray:
    """Return the share of tables whose bounds hold the truth, by component."""
    held = np.zeros(len(truth))
    for _ in range(tables):
        low, high = np.transpose(estimate(draw()))
        held += (low <= truth) & (truth <= high)
    return held / tables


def test_intervals_of_normal_effects_cover_what_they_say():
    """Three crossed factors, whose main effects are two mean squares less two others."""
    rng, sizes = np.random.default_rng(3), {"pattern": 3, "seed": 5, "row": 60}
    spreads = {("pattern",): 0.1, ("seed",): 0.05, ("row",): 0.4, ("pattern", "seed"): 0.05,
               ("pattern", "row"): 0.1, ("seed", "row"): 0.2,
               ("pattern", "seed", "row"): 0.2}  # fmt: skip

    def draw():
        table = np.zeros(tuple(sizes.values()))
        for effect, sd in spreads.items():
            shape = tuple(size if name in effect else 1 for name, size in sizes.items())
            table = table + rng.normal(0, sd, shape)
        return table

    def estimate(table):
        found = stats.component_sums(table, tuple(sizes))
        return [stats.square_sum_interval(found[frozenset(effect)]) for effect in spreads]

    shares = covered(draw, estimate, np.square(list(spreads.values())), 1200)
    # Five standard errors of 1,200 tables are 3 points.
    assert (np.abs(shares - 0.95) < 0.03).all(), shares


def answers(rng, seeds, rows, level, of_seed, of_row):
    """Return answers [S, R]: right with the chance of a logit that adds up draw and row."""
    logit = level + rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_row, rows)
    return (rng.random(logit.shape) < special.expit(logit)).astype(float)


def true_parts(level, of_seed, of_row) -> np.ndarray:
    """Return the variance of an answer between draws, between rows, and the rest, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    chance = special.expit(level + of_seed * nodes[:, None] + of_row * nodes)
    mean = weights @ chance @ weights
    seed = weights @ (chance @ weights - mean) ** 2
    row = weights @ (weights @ chance - mean) ** 2
    return np.array([seed, row, mean * (1 - mean) - seed - row])


@pytest.mark.weekly
@pytest.mark.parametrize(
    "effects", [(0.8, 0.3, 1.5), (0.8, 1.0, 1.5), (3.0, 0.3, 2.0)], ids="usual draws skewed".split()
)
def test_intervals_of_answers_cover_about_what_they_say(effects):
    """With 64, 63 and 87 % right. χ² bounds hold for draws; those of rows would cover 74 to 98 %,
    of the rest 48 to 85 %, and the jackknife covers 95 to 99 %."""
    rng, wanted = np.random.default_rng(4), ("row", "both")

    def parts(table):
        found = stats.component_sums(table, ("seed", "row"))
        return dict(zip(("seed", "row", "both"), found.values(), strict=True))

    def estimate(table):
        def of_rows(some):
            return [parts(some)[name].value for name in wanted]

        jackknife = stats.crossed_jackknife(of_rows, table, (0, 1))
        return [stats.square_sum_interval(parts(table)["seed"]), *zip(*jackknife, strict=True)]

    shares = covered(lambda: answers(rng, 10, 277, *effects), estimate, true_parts(*effects), 400)
    assert (shares > 0.91).all(), shares
    assert shares[0] < 0.99


def test_the_jackknife_of_a_mean_is_known():
    """Its variance is that of the seeds' means over their number, and of the rows' over theirs."""
    table = np.random.default_rng(5).normal(0, 1, (6, 15)) + np.arange(15)
    [low], [high] = stats.crossed_jackknife(lambda v: [v.mean()], table, (0, 1))
    parts = [table.mean(axis=1).var(ddof=1) / 6, table.mean(axis=0).var(ddof=1) / 15]
    df = max(sum(parts) ** 2 / (parts[0] ** 2 / 5 + parts[1] ** 2 / 14), 5)
    half = reference.t.ppf(0.975, df) * sum(parts) ** 0.5
    assert (low, high) == pytest.approx((table.mean() - half, table.mean() + half))


def test_the_jackknife_leaves_out_twenty_parts_of_many_rows_and_needs_three_levels():
    table, seen = np.random.default_rng(6).normal(size=(3, 101)), []

    def estimate(some):
        seen.append(some.shape)
        return [some.mean()]

    stats.crossed_jackknife(estimate, table, (1,))
    assert seen[0] == (3, 101) and set(seen[1:]) == {(3, 95), (3, 96)} and len(seen) == 21
    assert np.isnan(stats.crossed_jackknife(estimate, table[:2], (0, 1))).all()
