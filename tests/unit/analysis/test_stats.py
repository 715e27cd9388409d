"""Intervals and t-tests against scipy and against values worked out by hand."""

import numpy as np
import pytest
from fewshot.analysis import stats
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

A = [0.61, 0.58, 0.66, 0.70, 0.55]
B = [0.52, 0.57, 0.54, 0.66, 0.50]


def test_mean_interval_agrees_with_scipy():
    low, high = reference.t.interval(0.9, 4, loc=np.mean(A), scale=reference.sem(A))
    found = stats.mean_interval(A, 0.9)
    assert (found.low, found.mean, found.high) == pytest.approx((low, np.mean(A), high))
    assert found.n == 5


def test_no_values_have_no_mean():
    with pytest.raises(ValueError, match="no values"):
        stats.mean_interval([])


def test_bounds_cut_the_interval():
    found = stats.mean_interval([0.99, 0.90, 1.0], bounds=(0, 1))
    assert found.high == 1
    assert 0.8 < found.low < 0.9


def test_t_interval_takes_arrays():
    # t(0.975, 2) = 4.302653: half width 4.302653 / sqrt(3) = 2.484138
    low, high = stats.t_interval(np.array([2.0, 5.0]), np.array([1.0, np.nan]), np.array([3, 1]))
    assert low[0] == pytest.approx(-0.484138, abs=1e-6)
    assert np.isnan(low[1])
    assert np.isnan(high[1])


def test_wilson_interval_agrees_with_scipy_and_handles_the_ends():
    for correct, n in ((7, 20), (0, 10), (10, 10), (277, 300)):
        expected = reference.binomtest(correct, n).proportion_ci(method="wilson")
        low, high = stats.wilson_interval(correct, n)
        assert (float(low), float(high)) == (
            pytest.approx(expected.low, abs=1e-12),
            pytest.approx(expected.high, abs=1e-12),
        )
    assert np.isnan(stats.wilson_interval(0, 0)[0])


@pytest.mark.parametrize("seeds", [2, 7])
def test_differences_without_spread_have_no_test(seeds):
    """Equal differences say nothing of how they vary: never p = 0, and no interval of one point."""
    same, more = np.full(seeds, 0.1), np.full(seeds, 0.3)
    for tests in (stats.paired_tests, stats.welch_tests):
        for one, other in ((same, same), (more, same), (more / 3 * 3, same + 0.0)):
            found = tests(one, other)
            numbers = [found.t, found.p, found.difference.low, found.difference.high]
            assert np.isnan(numbers).all()


def test_missing_seeds_are_left_out_and_counted():
    a, b = np.array([*A, np.nan]), np.array([*B, 0.9])
    found = stats.paired_tests(a, b)
    assert found == stats.paired_tests(A, B)
    assert found.difference.n == 5
    welch = stats.welch_tests(a, b[:4])
    assert welch == stats.welch_tests(A, B[:4])
    assert welch.difference.n == 9


def test_matrices_of_tests_agree_with_scipy_pair_by_pair():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.6, 0.1, (3, 10)), rng.normal(0.5, 0.2, (4, 7))
    a[1, 2:4] = np.nan
    matrix = stats.welch_tests(a[:, None], b[None])
    assert matrix.p.shape == (3, 4)
    expected = reference.ttest_ind(a[1], b[2], equal_var=False, nan_policy="omit")
    found = [values[1, 2] for values in (matrix.t, matrix.p, matrix.df, matrix.difference.low)]
    low = expected.confidence_interval().low
    assert found == pytest.approx([expected.statistic, expected.pvalue, expected.df, low])
    assert matrix.difference.mean[1, 2] == pytest.approx(np.nanmean(a[1]) - b[2].mean())
    assert matrix.difference.n[1, 2] == 15
    pairs = stats.paired_tests(a[:, None, :7], b[None])
    expected = reference.ttest_rel(a[1, :7], b[3], nan_policy="omit")
    found = [values[1, 3] for values in (pairs.t, pairs.p, pairs.difference.low)]
    low = expected.confidence_interval().low
    assert found == pytest.approx([expected.statistic, expected.pvalue, low])
    assert (pairs.difference.n[1, 3], pairs.df[1, 3]) == (5, 4)


def test_cells_of_a_matrix_without_two_values_are_blank():
    alone = np.array([[0.5, np.nan, np.nan], [0.5, 0.6, 0.7], [np.nan] * 3])
    other = np.array([0.4, 0.3, 0.5])
    for test in (stats.paired_tests(alone, other), stats.welch_tests(alone, other)):
        blank = np.isnan([test.p, test.t, test.df, test.difference.low])
        assert blank.all(axis=0).tolist() == [True, False, True]
    assert stats.paired_tests(alone, other).difference.n.tolist() == [1, 3, 0]
    assert stats.paired_tests(alone, other).difference.mean[0] == pytest.approx(0.1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_an_interval_holds_its_mean_and_grows_with_confidence(values):
    narrow, wide = stats.mean_interval(values, 0.8), stats.mean_interval(values, 0.99)
    assert wide.low <= narrow.low <= narrow.mean <= narrow.high <= wide.high
