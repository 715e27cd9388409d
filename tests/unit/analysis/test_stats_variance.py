"""Variance by source and detectable differences, by hand, by simulation and by statsmodels."""

from itertools import pairwise

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator
from scipy import integrate
from scipy import stats as reference

FACTORS = ("pattern", "seed", "row")


def test_two_factors_by_hand():
    # means of lines 2, 5; of columns 2, 3, 5.5: SS 13.5, 13 and 1; MS 13.5, 6.5, 0.5
    found = stats.variance_components([[1, 1, 4], [3, 5, 7]], ("seed", "row"))
    assert list(found) == ["seed", "row", "residual"]
    assert found["residual"].raw == pytest.approx(0.5)
    assert found["seed"].raw == pytest.approx((13.5 - 0.5) / 3)
    assert found["row"].raw == pytest.approx((6.5 - 0.5) / 2)
    total = 0.5 + 13 / 3 + 3
    assert found["row"].share == pytest.approx(3 / total)
    assert found["seed"].of_mean == pytest.approx(13 / 3 / 2)
    assert found["residual"].of_mean == pytest.approx(0.5 / 6)


def test_three_factors_agree_with_the_table_of_expected_mean_squares():
    values = generator("test", "ems").normal(0, 1, (3, 4, 5))
    found = stats.variance_components(values, FACTORS)
    centred = values - values.mean()
    p, s, r = (centred.mean(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    ps = centred.mean(axis=2) - p[:, None] - s
    pr = centred.mean(axis=1) - p[:, None] - r
    sr = centred.mean(axis=0) - s[:, None] - r
    rest = centred - p[:, None, None] - s[:, None] - r - ps[..., None] - pr[:, None] - sr
    ms = {
        "p": 20 * (p**2).sum() / 2,
        "ps": 5 * (ps**2).sum() / 6,
        "pr": 4 * (pr**2).sum() / 8,
        "sr": 3 * (sr**2).sum() / 12,
        "r": 12 * (r**2).sum() / 4,
        "e": (rest**2).sum() / 24,
    }
    assert found["residual"].raw == pytest.approx(ms["e"])
    assert found["pattern:seed"].raw == pytest.approx((ms["ps"] - ms["e"]) / 5)
    expected = (ms["p"] - ms["ps"] - ms["pr"] + ms["e"]) / 20
    assert found["pattern"].raw == pytest.approx(expected)
    expected = (ms["r"] - ms["pr"] - ms["sr"] + ms["e"]) / 12
    assert found["row"].raw == pytest.approx(expected)


def test_a_negative_component_counts_as_none_and_is_kept_raw():
    # A chessboard: lines and columns have equal means, so all is meeting.
    found = stats.variance_components([[1, 0], [0, 1]], ("seed", "row"))
    assert found["seed"].raw == pytest.approx(-0.5)
    assert (found["seed"].variance, found["seed"].share) == (0, 0)
    assert (found["residual"].raw, found["residual"].share) == (pytest.approx(1), 1)
    same = stats.variance_components(np.ones((2, 3)), ("seed", "row"))
    assert same["seed"].variance == 0
    assert np.isnan(same["seed"].share)


def test_a_factor_with_one_level_has_no_component_and_changes_no_other():
    values = generator("test", "one pattern").random((1, 4, 6)) < 0.6
    found = stats.variance_components(values, FACTORS)
    plain = stats.variance_components(values[0], ("seed", "row"))
    assert np.isnan([found["pattern"].raw, found["residual"].share]).all()
    assert found["seed"] == plain["seed"]
    assert found["seed:row"] == plain["residual"]


def test_incomplete_scores_are_refused():
    with pytest.raises(ValueError, match="a score is missing"):
        stats.variance_components([[1, np.nan]], ("seed", "row"))
    with pytest.raises(ValueError, match="2 axes do not fit"):
        stats.variance_components([[1, 2]], FACTORS)


def test_sensitivity_to_prompts_is_averaged_over_complete_seeds():
    values = np.array([[0.5, 0.6, 0.9], [0.7, 0.6, np.nan], [0.6, 0.9, 0.9]])
    found = stats.prompt_sensitivity(values)
    assert (found.patterns, found.seeds) == (3, 2)
    assert found.spread == pytest.approx((0.2 + 0.3) / 2)
    assert found.sd == pytest.approx((0.1 + np.std([0.6, 0.6, 0.9], ddof=1)) / 2)
    assert stats.prompt_sensitivity([0.5, 0.7]).spread == pytest.approx(0.2)
    assert np.isnan(stats.prompt_sensitivity([0.5]).sd)
    assert stats.prompt_sensitivity(np.full((2, 3), np.nan)).seeds == 0


def power_by_integration(effect: float, df: int, alpha: float) -> float:
    """Return P(|Z + effect| > c √(X / df)) for a normal Z and X ~ χ² by the quadrature of X."""
    critical = reference.t.isf(alpha / 2, df)

    def inside(x):
        bound = critical * np.sqrt(x / df)
        held = reference.norm.cdf(bound - effect) - reference.norm.cdf(-bound - effect)
        return held * reference.chi2.pdf(x, df)

    ends = [0, df / 4, df, 4 * df, 4 * df + 200]
    return 1 - sum(integrate.quad(inside, *pair)[0] for pair in pairwise(ends))


@pytest.mark.parametrize(
    ("comparisons", "power", "errors"),
    [(1, 0.8, 1.959964 + 0.841621), (50, 0.8, 3.290527 + 0.841621), (5, 0.9, 2.575829 + 1.281552)],
)
def test_detectable_differences_of_a_normal_error_by_hand(comparisons, power, errors):
    grid = reference.norm.ppf(np.arange(1, 10_000) / 10_000)
    lines = 0.03 + np.array([0.02, 0.04])[:, None] * grid
    found = stats.detectable_difference(lines, power, comparisons=comparisons)
    assert found == pytest.approx([0.02 * errors, 0.04 * errors], rel=1e-6)


@pytest.mark.parametrize("n", [3, 5, 10, 40])
@pytest.mark.parametrize("comparisons", [1, 10])
def test_detectable_differences_have_about_the_power_they_are_said_to_have(n, comparisons):
    """Without row effects the crossed bootstrap is the t-test over seeds, whose power is known."""
    rng = generator("test", "power", n)
    values = rng.normal(0, 1, n)
    se = values.std(ddof=1) / np.sqrt(n)
    lines = stats.seed_weights(rng, 40_000, n) @ values
    found = stats.detectable_difference(lines, comparisons=comparisons)
    power = power_by_integration(found / se, n - 1, 0.05 / comparisons)
    assert 0.67 < power < 0.86


def test_detectable_differences_know_their_limits():
    lines = np.random.default_rng(0).normal(size=(3, 999))
    assert np.isfinite(stats.detectable_difference(lines, comparisons=24)).all()
    blank = stats.detectable_difference(lines, comparisons=25)
    assert blank.shape == (3,) and np.isnan(blank).all(), "25 times 2 / 1000 is not below 0.05"
    with pytest.raises(ValueError, match="power must lie"):
        stats.detectable_difference(lines, power=1)
