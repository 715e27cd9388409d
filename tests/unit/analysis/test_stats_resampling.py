"""The crossed bootstrap against enumeration, Owen's variance, Student's t and a known truth."""

from itertools import product

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st

SMALL = np.array([[0.9, 0.4, 0.1], [0.8, 0.9, 0.3]])  # two seeds, three rows


def every_count(units: int) -> np.ndarray:
    """Return the counts of every equally likely resample of so many units."""
    draws = product(range(units), repeat=units)
    return np.array([np.bincount(draw, minlength=units) for draw in draws], dtype=float)


def pigeonhole_variance(scores: np.ndarray) -> float:
    """Return the variance of the mean under product weights: SS_a/S² + SS_b/R² + SS_e/(SR)²."""
    (seeds, rows), mean = scores.shape, scores.mean()
    by_seed, by_row = scores.mean(axis=1) - mean, scores.mean(axis=0) - mean
    rest = scores - mean - by_seed[:, None] - by_row
    parts = (by_seed**2).sum() / seeds**2, (by_row**2).sum() / rows**2
    return sum(parts) + (rest**2).sum() / (seeds * rows) ** 2


def test_all_resamples_of_a_small_case_have_owens_variance():
    pairs = list(product(every_count(2), every_count(3)))
    seeds = np.array([pair[0] for pair in pairs]) / 2
    rows = np.array([pair[1] for pair in pairs])
    found = stats.over_seeds(stats.resampled_means(SMALL, None, rows), seeds)
    assert len(found) == 4 * 27
    assert found.mean() == pytest.approx(SMALL.mean())
    assert found.var() == pytest.approx(pigeonhole_variance(SMALL))


def test_row_weights_are_counts_of_draws_with_replacement():
    weights = stats.row_weights(generator("test", "rows"), 4000, 7)
    assert weights.shape == (4000, 7)
    assert weights.dtype == np.float32
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)
    # multinomial: variance 1 - 1/7, covariance -1/7
    covariance = np.cov(weights.T)
    assert np.diag(covariance) == pytest.approx(np.full(7, 6 / 7), abs=0.1)
    assert covariance[0, 1] == pytest.approx(-1 / 7, abs=0.06)
    again = stats.row_weights(generator("test", "rows"), 4000, 7)
    assert (again == weights).all()


def test_strata_keep_their_size_in_every_resample():
    strata = np.array([0, 1, 0, 1, 1])
    weights = stats.row_weights(generator("test", "strata"), 4000, 5, strata)
    assert (weights[:, strata == 0].sum(axis=1) == 2).all()
    assert (weights[:, strata == 1].sum(axis=1) == 3).all()
    # multinomial in each: variance 1 - 1/2 and 1 - 1/3
    assert weights.var(axis=0) == pytest.approx(np.where(strata == 0, 1 / 2, 2 / 3), abs=0.06)


def test_seed_weights_sum_to_one_and_one_seed_has_all():
    weights = stats.seed_weights(generator("test", "seeds"), 500, 10)
    assert weights.shape == (500, 10)
    assert weights.sum(axis=1) == pytest.approx(np.ones(500))
    assert (stats.seed_weights(generator("test", "seeds"), 5, 1) == 1).all()


@pytest.mark.parametrize("n", [5, 10])
def test_without_row_effects_it_agrees_with_the_paired_t_test(n):
    rng = generator("test", "student", n)
    a, b = rng.normal(0.62, 0.03, n), rng.normal(0.57, 0.05, n)
    weights = stats.seed_weights(rng, 20_000, n)
    found = stats.crossed_bootstrap(weights @ a, weights @ b, a.mean() - b.mean(), n)
    expected = stats.paired_tests(a, b)
    assert found.difference.mean == pytest.approx(expected.difference.mean)
    assert found.difference.n == n
    width = expected.difference.high - expected.difference.low
    assert found.difference.low == pytest.approx(expected.difference.low, abs=0.08 * width)
    assert found.difference.high == pytest.approx(expected.difference.high, abs=0.08 * width)
    assert found.p == pytest.approx(expected.p, abs=0.01)


def test_one_seed_resamples_rows_alone_and_agrees_with_wilson():
    correct = np.arange(500) < 330
    rng = generator("test", "zero-shot")
    means = stats.resampled_means(correct[None], None, stats.row_weights(rng, 4000, 500))
    resampled = stats.over_seeds(means, stats.seed_weights(rng, 4000, 1))
    found = stats.bootstrap_interval(0.66, resampled, 1, bounds=(0, 1))
    low, high = stats.wilson_interval(330, 500)
    assert (found.mean, found.n) == (0.66, 1)
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.004),
        pytest.approx(high, abs=0.004),
    )


def test_clusters_are_resampled_whole_and_large_ones_count_for_more():
    values = np.array([[1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 1, 1]], dtype=bool)
    clusters, sizes = np.array([0, 0, 0, 1, 1, 2]), np.array([3, 2, 1])
    sums = stats.cluster_sums(values, clusters, 3)
    assert sums.tolist() == [[2, 1, 0], [1, 2, 1]]
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0]], dtype=np.float32)
    found = stats.resampled_means(sums, sizes, weights)
    # the second resample has 3 + 3 + 1 rows, the third 2 + 2 + 2
    assert found == pytest.approx(np.array([[3 / 6, 4 / 7, 3 / 6], [4 / 6, 3 / 7, 6 / 6]]))


@pytest.mark.parametrize("largest", [1, 1000, 10**6])
def test_sums_of_whole_numbers_are_exact(largest):
    rng = generator("test", "exact", largest)
    values = rng.integers(0, largest, (4, 300), endpoint=True)
    weights = stats.row_weights(rng, 20, 300)
    expected = values @ weights.T.astype(np.int64)
    assert (stats.resampled_sums(values, weights) == expected).all()
    assert (stats.resampled_sums(values / 3, weights)) == pytest.approx(expected / 3, rel=1e-14)


def test_arms_combined_one_by_one_give_the_test_of_the_pair():
    rng = generator("test", "linear")
    weights, seeds = stats.row_weights(rng, 300, 80), stats.seed_weights(rng, 300, 6)
    a, b = rng.random((6, 80)) < 0.7, rng.random((6, 80)) < 0.6
    means = [stats.resampled_means(arm, None, weights) for arm in (a, b)]
    apart = [stats.over_seeds(arm, seeds) for arm in means]
    pair = stats.crossed_bootstrap(*apart, a.mean() - b.mean(), 6)
    together = stats.over_seeds(means[0] - means[1], seeds)
    found = stats.bootstrap_tests(a.mean() - b.mean(), together, 6)
    assert found.p == pair.p
    assert found.difference.low == pytest.approx(pair.difference.low)
    stacked = stats.crossed_bootstrap(
        np.array([apart[0]] * 2), apart[1], [a.mean() - b.mean()] * 2, 6
    )
    assert stacked.p.tolist() == [pair.p] * 2


def test_missing_seeds_are_refused():
    weights = np.full((4, 3), 1 / 3)
    with pytest.raises(ValueError, match="do not fit 3 seeds"):
        stats.over_seeds(np.zeros((2, 4)), weights)
    with pytest.raises(ValueError, match="leave it out"):
        stats.over_seeds(np.full((3, 4), np.nan), weights)


@given(st.integers(0, 10**6), st.floats(-4, 4))
def test_p_and_interval_tell_the_same(seed, shift):
    resampled = np.random.default_rng(seed).normal(shift, 1, 199)
    found = stats.bootstrap_tests(shift, resampled, 10)
    outside = found.difference.low > 0 or found.difference.high < 0
    assert outside == (found.p < 0.05 + 1e-9)
    assert found.floor <= found.p <= 1


def test_the_floor_is_that_of_the_resamples():
    found = stats.bootstrap_tests(1.0, np.ones(999), 10)
    assert found.p == found.floor == stats.bootstrap_floor(999) == 0.002
    assert stats.bootstrap_tests(0.0, np.zeros(999), 10).p == 1


def coverage(seeds, rows, sd, count=600, resamples=1999):
    """Return how often the intervals of known crossed effects hold the truth, 0."""
    rng = generator("test", "coverage", seeds, rows, *sd)
    scores = sd[0] * rng.normal(0, 1, (count, seeds, 1)) + sd[1] * rng.normal(
        0, 1, (count, 1, rows)
    )
    scores = scores + sd[2] * rng.normal(0, 1, (count, seeds, rows))
    means = stats.resampled_means(scores, None, stats.row_weights(rng, resamples, rows))
    resampled = stats.over_seeds(means, stats.seed_weights(rng, resamples, seeds))
    found = stats.bootstrap_interval(scores.mean(axis=(1, 2)), resampled, seeds)
    return ((found.low <= 0) & (found.high >= 0)).mean()


@pytest.mark.parametrize(
    ("seeds", "sd", "least", "most"),
    [
        (3, (1.0, 0.2, 0.2), 0.92, 0.98),
        (5, (1.0, 0.2, 0.2), 0.93, 0.98),
        (10, (1.0, 0.2, 0.2), 0.93, 0.97),
        (10, (0.1, 1.0, 0.3), 0.92, 0.97),
        (10, (0.05, 0.05, 1.0), 0.99, 1.0),
    ],
    ids=["3 seeds", "5 seeds", "10 seeds", "rows", "residual"],
)
def test_intervals_cover_a_known_truth(seeds, sd, least, most):
    assert least <= coverage(seeds, 60, sd) <= most
