"""The error of a mean over crossed seeds and rows, against analysis of variance by hand, exact
special cases and other people's code. How often it errs is measured in tests/slow."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from fewshot.analysis import stats
from fewshot.analysis.stats import crossed
from scipy import special
from scipy import stats as reference
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.proportion import proportion_confint


def table(rng, seeds, rows, draw=0.05, row=0.3, rest=0.3):
    """Return normal values [S, R] of crossed random effects with these standard deviations."""
    return (
        0.02
        + draw * rng.standard_normal((seeds, 1))
        + row * rng.standard_normal(rows)
        + rest * rng.standard_normal((seeds, rows))
    )


def ones(values):
    return np.ones(np.shape(values)[-1])


def test_the_variance_is_that_of_the_mean_squares():
    values = table(np.random.default_rng(1), 6, 40, draw=0.1)
    seeds, rows = values.shape
    frame = pd.DataFrame(values).melt(ignore_index=False, var_name="row").reset_index(names="seed")
    model = smf.ols("value ~ C(seed) + C(row)", frame).fit()
    squares = anova_lm(model)["mean_sq"]
    variance = squares["C(seed)"] + squares["C(row)"] - squares["Residual"]
    found = stats.parts(values, ones(values))
    error = stats.error_of(found)
    assert error.error**2 == pytest.approx(variance / seeds / rows)
    assert found.mean == pytest.approx(values.mean())
    parts = squares[["C(seed)", "C(row)"]].to_numpy() / seeds / rows
    df = (variance / seeds / rows) ** 2 / (parts**2 / (seeds - 1, rows - 1)).sum()
    assert error.df == pytest.approx(df), "Satterthwaite's"


def test_it_is_unbiased():
    """The mean of 4,000 estimates is the variance of the 4,000 means."""
    rng = np.random.default_rng(2)
    tables = [table(rng, 6, 12, draw=0.2) for _ in range(4000)]
    found = [stats.parts(each, ones(each)) for each in tables]
    estimates = np.array([each.draws + each.rows - each.both for each in found])
    truth = 0.2**2 / 6 + 0.3**2 / 12 + 0.3**2 / 72
    assert estimates.mean() == pytest.approx(truth, abs=3 * estimates.std() / 4000**0.5)


def test_seeds_alone_are_the_paired_t_test():
    """Where a draw moves all rows alike nothing else varies."""
    draws = np.random.default_rng(3).normal(0.02, 0.05, 10)
    found = stats.parts(np.repeat(draws[:, None], 30, axis=1), np.ones(30))
    error = stats.error_of(found)
    assert error.error == pytest.approx(reference.sem(draws))
    assert error.df == pytest.approx(9)
    p = stats.t_test(found.mean, error.error, error.df)
    assert p == pytest.approx(reference.ttest_1samp(draws, 0).pvalue)
    low, high = stats.t_bounds(found.mean, error.error, error.df)
    interval = reference.ttest_1samp(draws, 0).confidence_interval()
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_one_seed_has_the_error_of_its_rows():
    values = np.random.default_rng(4).normal(size=(1, 50))
    error = stats.error_of(stats.parts(values, ones(values)))
    assert error.error == pytest.approx(reference.sem(values[0]))
    assert error.df == pytest.approx(49)


def test_equal_clusters_take_the_place_of_rows():
    values = table(np.random.default_rng(5), 5, 60)
    sums = values.reshape(5, 12, 5).sum(axis=2)
    found = stats.parts(sums, np.full(12, 5))
    plain = stats.parts(sums / 5, np.ones(12))
    for name in ("rows", "both", "row_df", "mean", "draws"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name))


def test_unequal_clusters_are_left_out_in_turn():
    """The jackknife over clusters, computed by leaving each out, and Kish's effective number."""
    rng = np.random.default_rng(6)
    sizes = rng.integers(3, 40, 15)
    values = np.concatenate([rng.normal(rng.normal(), 1, n) for n in sizes])
    of = np.repeat(np.arange(15), sizes)
    left = np.array([values[of != each].mean() for each in range(15)])
    jackknife = 14 / 15 * ((left - values.mean()) ** 2).sum()
    found = stats.parts(np.bincount(of, values)[None], sizes)
    assert found.rows == pytest.approx(jackknife)
    assert found.row_df == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum() - 1)


def test_one_large_cluster_leaves_one_degree_of_freedom():
    """Clusters of 100, 1 and 1 rows count as 102² / 10,002 = 1.04; t has one degree at least."""
    assert stats.parts(np.array([[60.0, 1, 0]]), np.array([100, 1, 1])).row_df == 1


def test_strata_vary_among_themselves():
    """Two labels of one template each kind: the difference between labels is no variance."""
    values = np.concatenate([np.full(20, 1.0), np.full(20, -1.0)])
    values += np.random.default_rng(7).normal(0, 0.1, 40)
    strata = np.repeat([0, 1], 20)
    found = stats.parts(values[None], np.ones(40), strata)
    by_hand = sum(values[strata == each].var(ddof=1) / 20 for each in (0, 1)) / 4
    assert found.rows == pytest.approx(by_hand)
    assert stats.parts(values[None], np.ones(40)).rows > 50 * found.rows


def test_a_gap_adds_the_rows_of_both_sets_and_pairs_their_seeds():
    rng = np.random.default_rng(8)
    draws = rng.normal(0, 0.5, (6, 1))
    inside, outside = (draws + rng.normal(0, 0.1, (6, rows)) for rows in (30, 50))
    terms = [stats.parts(each, ones(each)) for each in (outside, inside)]
    gap = stats.combined(terms, [1, -1])
    assert gap.mean == pytest.approx(outside.mean() - inside.mean())
    assert gap.rows == pytest.approx(terms[0].rows + terms[1].rows)
    by_seed = outside.mean(axis=1) - inside.mean(axis=1)
    assert gap.draws == pytest.approx(by_seed.var(ddof=1) / 6)
    assert gap.draws < 0.1 * terms[0].draws, "a good draw is good on both"


def test_the_variance_never_falls_far_below_its_larger_part():
    """Seeds that agree by chance more than their rows allow would find what is not there."""
    found = crossed.Parts(np.array([0.1, 0.1 + 1e-9] * 3), 1e-4, 0.9e-4, 99, 100)
    assert stats.error_of(found).error ** 2 == pytest.approx(0.7e-4)


def test_degrees_of_freedom_are_no_fewer_than_a_part_has():
    """What is counted twice leaves 0.7² / (1 / 9 + 1 / 20) = 3.0 by Satterthwaite's formula."""
    error = crossed.error_from(np.ones(2), np.array([9.0, 20.0]), 1.3)
    assert (error.error**2, error.df) == (pytest.approx(0.7), 9)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_have_the_quantile_of_cochran_and_cox(seeds):
    found = crossed.Parts(np.linspace(-0.1, 0.1, seeds), 0.001, 0.0002, 200, 201)
    error = stats.error_of(found)
    weights = np.array([found.draws, found.rows])
    quantiles = special.stdtrit([seeds - 1, 200], 1 - crossed.FAR / 2)
    expected = (weights / weights.sum()) @ quantiles
    assert special.stdtrit(error.df, 1 - crossed.FAR / 2) == pytest.approx(expected)
    # The interval is no shorter than that of the weighted quantiles themselves.
    quantiles = special.stdtrit([seeds - 1, 200], 0.975)
    assert special.stdtrit(error.df, 0.975) > (weights / weights.sum()) @ quantiles


def test_draws_that_are_not_shared_add_up():
    rng = np.random.default_rng(9)
    a, b = rng.normal(0.7, 0.1, (8, 1)), rng.normal(0.5, 0.2, (6, 1))
    one, two = (stats.parts(np.repeat(each, 20, axis=1), np.ones(20)) for each in (a, b))
    rows = stats.parts(np.zeros((1, 20)), np.ones(20))
    error = stats.error_apart(one, two, rows)
    welch = reference.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert error.df == pytest.approx(welch.df)
    assert stats.t_test(one.mean - two.mean, error.error, error.df) == pytest.approx(welch.pvalue)


def test_draws_that_are_not_shared_have_the_rows_of_the_difference():
    """Rows are paired though draws are not: 4e-4, less what both sides count twice, 1e-4 + 2e-4."""
    a = crossed.Parts(np.linspace(0.6, 0.8, 8), 5e-4, 1e-4, 99, 100)
    b = crossed.Parts(np.linspace(0.4, 0.7, 8), 6e-4, 2e-4, 99, 100)
    error = stats.error_apart(a, b, crossed.Parts(np.zeros(1), 4e-4, 0.0, 99, 100))
    draws = a.seeds.var(ddof=1) / 8 + b.seeds.var(ddof=1) / 8
    assert error.error**2 == pytest.approx(draws + 4e-4 - 3e-4)


@pytest.mark.parametrize("values", [np.zeros((5, 30)), np.full((5, 30), 0.1)])
def test_without_variance_there_is_no_error(values):
    error = stats.error_of(stats.parts(values, ones(values)))
    assert np.isnan([error.error, error.df]).all()
    assert np.isnan(stats.t_test(0.1, error.error, error.df))
    assert np.isnan(stats.equivalence_test(0.1, error.error, error.df, 0.03))


def test_one_cluster_of_rows_has_no_error():
    found = stats.parts(np.array([[3.0], [4.0], [6.0]]), np.array([10]))
    assert np.isnan(stats.error_of(found).error) and np.isnan(found.rows)


def test_equivalence_is_two_one_sided_tests():
    values = np.random.default_rng(10).normal(0.005, 0.02, 20)
    mean, error = values.mean(), reference.sem(values)
    above = reference.ttest_1samp(values, -0.03, alternative="greater").pvalue
    below = reference.ttest_1samp(values, 0.03, alternative="less").pvalue
    found = stats.equivalence_test(mean, error, 19, 0.03)
    assert found == pytest.approx(max(above, below))
    low, high = stats.t_bounds(mean, error, 19, 0.9)
    assert (found < 0.05) == (low > -0.03 and high < 0.03)


def test_the_interval_of_a_share_is_wilsons_for_independent_rows():
    right = np.repeat([1.0, 0.0], [60, 40])
    error = np.sqrt(right.var() / 100)
    low, high = stats.share_bounds(0.6, error, 1e9, 100)
    assert (low, high) == pytest.approx(proportion_confint(60, 100, method="wilson"))


def test_the_interval_of_a_share_is_never_a_point():
    low, high = stats.share_bounds(1.0, np.nan, np.nan, 7)
    assert 0.5 < low < 0.65 and high == 1
    low, high = stats.share_bounds(0.0, np.nan, np.nan, 7)
    assert low == 0 and 0.35 < high < 0.5
    low, high = stats.share_bounds(0.99, 0.05, 9, 20)
    assert 0 < low < 0.99 < high <= 1


def test_clustered_rows_widen_the_interval_of_a_share():
    """Ten templates of 30 rows that are right or wrong as a whole are ten rows."""
    right = np.repeat([1, 1, 0, 1, 0, 1, 1, 0, 1, 1], 30).astype(float)
    found = stats.parts(right.reshape(10, 30).sum(axis=1)[None], np.full(10, 30))
    error = stats.error_of(found)
    wide = np.subtract(*stats.share_bounds(0.7, error.error, error.df, 10)[::-1])
    narrow = np.subtract(*stats.wilson_interval(210, 300)[::-1])
    assert 4 < wide / narrow < 7
