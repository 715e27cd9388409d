"""Aggregates of runs against scipy and against values worked out by hand."""

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(SCORES)
def test_interquartile_mean_agrees_with_scipy(values):
    assert stats.interquartile_mean(values) == pytest.approx(reference.trim_mean(values, 0.25))


def test_interquartile_mean_flattens_and_leaves_missing_runs_out():
    values = np.array([[0.0, 0.5], [0.6, 1.0], [np.nan, 0.7], [0.4, np.nan]])
    # of 0 0.4 0.5 0.6 0.7 1.0 one is cut at each end
    assert stats.interquartile_mean(values) == pytest.approx((0.4 + 0.5 + 0.6 + 0.7) / 4)
    with pytest.raises(ValueError, match="no values"):
        stats.interquartile_mean([np.nan])


def test_its_interval_resamples_runs_within_tasks():
    # Constant within a task, different between tasks: nothing varies if tasks are not mixed.
    flat = np.tile([0.1, 0.5, 0.9], (10, 1))
    found = stats.interquartile_mean_interval(flat, generator("test", "iqm"), 200)
    assert (found.low, found.mean, found.high, found.n) == pytest.approx((0.5, 0.5, 0.5, 30))
    rng = generator("test", "iqm", "spread")
    values = rng.normal([0.5, 0.6], 0.05, (40, 2))
    values[0, 0] = np.nan
    found = stats.interquartile_mean_interval(values, rng, 2000)
    expected = reference.bootstrap(
        (values[1:, 0], values[:, 1]),
        lambda x, y, axis: reference.trim_mean(np.concatenate([x, y], axis), 0.25, axis=axis),
        method="percentile",
        n_resamples=4000,
        rng=1,
    ).confidence_interval
    assert found.n == 79
    assert found.low == pytest.approx(expected.low, abs=0.003)
    assert found.high == pytest.approx(expected.high, abs=0.003)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.lists(st.integers(0, 6), min_size=1))
def test_probability_of_improvement_is_the_mann_whitney_statistic(a, b):
    found = stats.probability_of_improvement(a, b)
    u = reference.mannwhitneyu(a, b).statistic
    assert found.mean == pytest.approx(u / (len(a) * len(b)))
    assert found.low <= found.mean <= found.high
    assert found.n == len(a) + len(b)


def newcombe(share, n, m, z):
    """Return the roots in [0, 1] of (θ̂ - θ)² nm (2-θ)(1+θ) = z² θ(1-θ)(...), a quartic."""
    theta = np.polynomial.Polynomial([0, 1])
    extra = (n + m) / 2 - 1
    shape = (2 - theta) * (1 + theta)
    shape = shape + extra * (1 - theta) * (1 + theta) + extra * theta * (2 - theta)
    left = (share - theta) ** 2 * n * m * (2 - theta) * (1 + theta)
    roots = (left - z**2 * theta * (1 - theta) * shape).roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    return sorted(real[(real > -1e-9) & (real < 1 + 1e-9)])


@pytest.mark.parametrize(("n", "m"), [(10, 10), (5, 8), (10, 3)])
def test_its_interval_solves_newcombes_equation(n, m):
    rng = generator("test", "newcombe", n, m)
    found = stats.probability_of_improvement(rng.normal(0.7, 1, n), rng.normal(0, 1, m))
    assert [found.low, found.high] == pytest.approx(
        newcombe(found.mean, n, m, reference.norm.ppf(0.975)), abs=1e-9
    )


def test_an_arm_that_always_wins_is_not_certain_to():
    found = stats.probability_of_improvement(np.ones(10), np.zeros(10))
    assert (found.mean, found.high) == (1, 1)
    assert found.low == pytest.approx(0.800214, abs=1e-6)
    turned = stats.probability_of_improvement(np.zeros(10), np.ones(10))
    assert (turned.low, turned.high) == pytest.approx((0, 1 - found.low), abs=1e-12)


def test_missing_runs_of_an_arm_are_left_out():
    found = stats.probability_of_improvement([0.7, np.nan, 0.5], [0.5, 0.6])
    assert (found.mean, found.n) == ((1 + 1 + 0.5 + 0) / 4, 4)
    with pytest.raises(ValueError, match="in each arm"):
        stats.probability_of_improvement([np.nan], [0.5])


def test_shared_draws_won_are_counted_with_ties_as_halves():
    found = stats.paired_improvement([0.9, 0.8, 0.5, 0.4, np.nan], [0.7, 0.7, 0.5, 0.6, 0.1])
    assert (found.mean, found.n) == (2.5 / 4, 4)
    low, high = stats.wilson_interval(2.5, 4)
    assert (found.low, found.high) == (low, high)
    with pytest.raises(ValueError, match="both arms have"):
        stats.paired_improvement([np.nan], [0.5])


def test_median_and_quartiles_agree_with_scipy_and_count_what_is_there():
    values = np.array([[0.4, 0.9, 0.5, 0.7], [0.2, np.nan, 0.6, np.nan], [np.nan] * 4])
    found = stats.median_iqr(values)
    assert found.n.tolist() == [4, 2, 0]
    assert found.median == pytest.approx([0.6, 0.4, np.nan], nan_ok=True)
    assert (found.high - found.low)[0] == pytest.approx(reference.iqr(values[0]))
    assert (found.high - found.low)[1] == pytest.approx(reference.iqr([0.2, 0.6]))
    assert np.isnan(found.low[2]) and np.isnan(found.high[2])


def stratified(values, strata, rng):
    """Return one resample of runs × tasks: the draws of each stratum with all its tasks."""
    parts = []
    for name in sorted(set(strata)):
        own = values[:, [each == name for each in strata]]
        parts.append(own[rng.integers(0, len(own), len(own))])
    return np.concatenate(parts, axis=1)


@pytest.mark.slow
def test_draws_that_tasks_share_are_resampled_with_all_of_them():
    rng = np.random.default_rng(3)
    draw = rng.normal(0, 0.05, (12, 2))
    # Two tasks in each stratum, whose runs differ by next to nothing but the draw.
    values = np.repeat(draw, 2, axis=1) + rng.normal([0.5, 0.55, 0.6, 0.65], 0.01, (12, 4))
    strata = ["a", "a", "b", "b"]
    found = stats.interquartile_mean_interval(values, generator("test"), 8000, strata=strata)
    means = [
        reference.trim_mean(stratified(values, strata, rng).ravel(), 0.25) for _ in range(8000)
    ]
    assert found.mean == pytest.approx(reference.trim_mean(values.ravel(), 0.25))
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.002)
    apart = stats.interquartile_mean_interval(values, generator("test"), 8000)
    assert found.high - found.low > 1.25 * (apart.high - apart.low)


@pytest.mark.slow
def test_the_improvement_over_unrelated_draws_is_rliables():
    """The mean over tasks of U / nm, resampled task by task (Agarwal et al. 2021)."""
    rng = np.random.default_rng(4)
    a, b = rng.normal([0.6, 0.7, 0.5], 0.05, (9, 3)), rng.normal([0.58, 0.66, 0.53], 0.05, (7, 3))

    def share(x, y):
        pairs = zip(x.T, y.T, strict=True)
        return np.mean(
            [reference.mannwhitneyu(*pair).statistic / (len(x) * len(y)) for pair in pairs]
        )

    found = stats.mean_improvement(a, b, generator("test"), shared=False, resamples=4000)
    again = [share(stratified(a, "abc", rng), stratified(b, "abc", rng)) for _ in range(1500)]
    assert found.mean == pytest.approx(share(a, b))
    assert (found.low, found.high) == pytest.approx(np.quantile(again, [0.025, 0.975]), abs=0.02)
    assert found.n == 27 + 21


def test_the_improvement_over_shared_draws_is_that_of_the_same_draw():
    a = np.array([[0.9, 0.4], [0.8, 0.5], [0.5, np.nan], [0.4, 0.9]])
    b = np.array([[0.7, 0.5], [0.7, 0.5], [0.5, 0.6], [0.6, 0.1]])
    found = stats.mean_improvement(a, b, generator("test"), strata=[0, 0])
    # Of the first task two wins and a tie of four, of the second a win and a tie of three.
    assert found.mean == pytest.approx((2.5 / 4 + 1.5 / 3) / 2)
    assert found.low < found.mean < found.high
    assert found.n == 4
    with pytest.raises(ValueError, match="both arms have"):
        stats.mean_improvement(a, np.full((4, 2), np.nan), generator("test"))


@pytest.mark.parametrize("shared", [True, False])
def test_the_interval_of_an_arm_that_always_wins_is_no_point(shared):
    a, b = np.full((5, 2), 0.8), np.full((5, 2), 0.6)
    one = stats.paired_improvement if shared else stats.probability_of_improvement
    for first, second in ((a, b), (b, a)):
        found = stats.mean_improvement(first, second, generator("test"), shared, strata=[0, 0])
        alone = one(first[:, 0], second[:, 0])
        assert (found.mean, found.low, found.high) == (alone.mean, alone.low, alone.high)
        assert found.high - found.low > 0.3
