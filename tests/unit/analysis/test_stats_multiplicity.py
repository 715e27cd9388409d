"""Corrections for many comparisons against statsmodels, and false positives under a null."""

from unittest.mock import patch

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests

METHODS = {"holm": stats.holm, "fdr_bh": stats.benjamini_hochberg}
CELLS, SEEDS = 49, 10


@pytest.mark.parametrize("name", METHODS)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_values_agree_with_statsmodels(name, p):
    # Each call of theirs collects garbage, which takes long in a process with much of it.
    with patch("gc.collect"):
        expected = multipletests(p, method=name)[1]
    assert METHODS[name](p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_what_was_not_tested_stays_blank_and_does_not_count(name):
    p = np.array([[0.01, np.nan, 0.04], [0.03, 0.02, np.nan]])
    found = METHODS[name](p)
    assert np.isnan(found).tolist() == np.isnan(p).tolist()
    known = multipletests(p[~np.isnan(p)], method=name)[1]
    assert found[~np.isnan(p)] == pytest.approx(known)
    assert np.isnan(METHODS[name]([np.nan])).all()
    assert METHODS[name]([]).shape == (0,)


def test_values_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        stats.holm([0.5, 1.5])


def at_most(count: int, trials: int, rate: float = 0.05) -> bool:
    """Return whether so many rejections are in keeping with a rate of at most `rate`."""
    return count <= binom.ppf(0.999, trials, rate)


def any_rejected(p: np.ndarray, adjust) -> int:
    """Count the families, lines of p, with a rejection at 0.05 after adjustment."""
    return sum(bool((adjust(family) < 0.05).any()) for family in p)


@pytest.mark.parametrize(("seed_sd", "rows"), [(1.0, 50), (0.1, 50)], ids=["seeds", "rows"])
def test_false_positives_of_the_crossed_bootstrap_stay_within_their_rate(seed_sd, rows):
    families, cells, resamples = 300, 10, 1999
    rng = generator("test", "null", "crossed", rows, seed_sd)
    weights = stats.row_weights(rng, resamples, rows)
    seeds = stats.seed_weights(rng, resamples, SEEDS)
    p = np.empty((families, cells))
    for family in range(families):
        # a - b per seed and row; the rows, and so part of the noise, are those of all cells
        scores = seed_sd * rng.normal(0, 1, (cells, SEEDS, 1))
        scores = scores + 0.5 * rng.normal(0, 1, (cells, 1, rows))
        scores += 0.5 * rng.normal(0, 1, (1, 1, rows))
        scores += 0.5 * rng.normal(0, 1, (cells, SEEDS, rows))
        means = stats.resampled_means(scores, None, weights)
        lines = stats.over_seeds(means, seeds)
        test = stats.crossed_bootstrap(lines, 0 * lines, scores.mean(axis=(1, 2)), SEEDS)
        p[family] = test.p
    assert at_most((p < 0.05).sum(), p.size)
    assert (p < 0.05).mean() > 0.02
    assert at_most(any_rejected(p, stats.holm), families)
    assert at_most(any_rejected(p, stats.benjamini_hochberg), families)
