"""What intervals of means allow for, and where there is none."""

import numpy as np
import pandas as pd
import pytest
from fewshot.analysis import stats
from fewshot.analysis.summary import summarise
from metric_rows import metric_rows
from scipy import stats as reference


def interval(rows, value="accuracy"):
    """Return low, high and what the interval of the one mean allows for."""
    [row] = summarise(rows, value=value).to_dict("records")
    return row["low"], row["high"], row["interval"]


def test_an_accuracy_allows_for_other_draws_and_rows_where_its_answers_are_known():
    rows = metric_rows([0.6, 0.7, 0.8], accuracy_error=0.06, accuracy_df=8, clusters=40)
    low, high, claim = interval(rows)
    # Wilson's interval (1927) of .7 × .3 / .06² = 58.33 rows, with t(8) = 2.306004 for its z.
    p, n, z = 0.7, 0.7 * 0.3 / 0.06**2, 2.306004
    roots = np.roots([1 + z**2 / n, -(2 * p + z**2 / n), p**2])
    assert sorted(roots) == pytest.approx([low, high], abs=1e-6)
    assert claim == "draws and rows"


def test_without_shots_only_rows_vary_by_cluster():
    independent = interval(
        metric_rows([0.6], k=0, accuracy_error=0.0492, accuracy_df=99, clusters=100)
    )
    clustered = interval(metric_rows([0.6], k=0, accuracy_error=0.15, accuracy_df=9, clusters=10))
    assert independent[2] == clustered[2] == "rows"
    wilson = stats.wilson_interval(60, 100)
    assert independent[:2] == pytest.approx(wilson, abs=0.002)
    assert clustered[0] < 0.3 and clustered[1] > 0.8


def test_one_seed_of_many_draws_has_no_interval():
    """Its rows' error leaves the draw out, which is what such a mean moves with."""
    low, high, claim = interval(
        metric_rows([0.6], accuracy_error=0.05, accuracy_df=99, clusters=100)
    )
    assert np.isnan([low, high]).all() and claim == "none"


def test_seven_rows_that_are_all_right_are_no_certainty():
    low, high, claim = interval(metric_rows([1.0] * 5, n=7, clusters=7))
    z = reference.t.ppf(0.975, 6)
    assert (low, high) == pytest.approx((7 / (7 + z**2), 1))
    assert 0.5 < low < 0.6 and claim == "draws and rows"


@pytest.mark.parametrize("clusters", [np.nan, 1])
def test_draws_alone_vary_where_answers_were_not_kept_or_make_one_cluster(clusters):
    low, high, claim = interval(metric_rows([0.6, 0.7, 0.8], clusters=clusters))
    half = reference.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half))
    assert claim == "draws"


@pytest.mark.parametrize("value", ["accuracy", "f1", "brier", "roc_area", "mean_logprob"])
def test_seeds_that_agree_have_no_interval_over_draws(value):
    rows = metric_rows([0.1, 0.1, 0.1]).assign(**{value: [0.1] * 3})
    low, high, claim = interval(rows, value)
    assert np.isnan([low, high]).all() and claim == "none"


@pytest.mark.parametrize(
    ("value", "seeds", "bounds"),
    [
        ("accuracy", [0.9, 1.0], (0, 1)),
        ("brier", [0.1, 1.9], (0, 2)),
        ("ece", [0.0, 0.5], (0, 1)),
        ("mcc", [-0.9, 0.9], (-1, 1)),
        ("f1", [0.1, 0.9], (0, 1)),
        ("mean_logprob", [-0.1, -4.0], (-np.inf, 0)),
    ],
)
def test_intervals_stay_within_what_a_score_can_be(value, seeds, bounds):
    rows = metric_rows([0.5, 0.6]).assign(**{value: seeds})
    low, high, claim = interval(rows, value)
    half = reference.t.ppf(0.975, 1) * np.std(seeds, ddof=1) / np.sqrt(2)
    expected = np.clip([np.mean(seeds) - half, np.mean(seeds) + half], *bounds)
    assert (low, high) == pytest.approx(tuple(expected))
    assert high == bounds[1] and claim == "draws"


def test_an_area_without_shots_has_the_error_of_its_clusters_of_rows():
    rows = metric_rows([0.6], k=0, clusters=40).assign(roc_area=0.7, roc_area_error=0.05)
    low, high, claim = interval(rows, "roc_area")
    half = reference.t.ppf(0.975, 39) * 0.05
    assert (low, high, claim) == (pytest.approx(0.7 - half), pytest.approx(0.7 + half), "rows")
    # All rows in order: nothing varies, and the interval would be a point.
    rows = rows.assign(roc_area=1.0, roc_area_error=0.0)
    assert interval(rows, "roc_area")[2] == "none"
    # Of several draws the area's own spread counts.
    drawn = metric_rows([0.6, 0.6], clusters=40).assign(roc_area=[0.7, 0.8], roc_area_error=0.05)
    assert interval(drawn, "roc_area")[2] == "draws"


def test_each_calibrated_accuracy_has_its_own_interval():
    rows = metric_rows([0.6, 0.7], accuracy_error=0.06, accuracy_df=8, clusters=40)
    rows = rows.assign(accuracy_batch=[0.6, 0.7], accuracy_batch_error=0.03, accuracy_batch_df=8.0)
    plain, batch = (interval(rows, value) for value in ("accuracy", "accuracy_batch"))
    assert plain[0] < batch[0] and batch[1] < plain[1] and batch[2] == "draws and rows"


def test_a_missing_seed_leaves_the_interval_to_the_others():
    rows = metric_rows([0.6, 0.8, None], accuracy_error=0.05, accuracy_df=20, clusters=90)
    [row] = summarise(rows).to_dict("records")
    assert (row["seeds"], row["interval"], row["status"]) == (2, "draws and rows", "2/3 seeds")
    both = summarise(rows[rows["status"] == "ok"]).iloc[0]
    assert (row["low"], row["high"]) == (both["low"], both["high"])
    assert pd.notna(row["low"])
