"""Variance by source and detectable differences, by hand, by simulation and by statsmodels."""

from itertools import pairwise

import numpy as np
import pytest
from fewshot import stats
from fewshot.sampling import generator
from scipy import integrate
from scipy import stats as reference
from statsmodels.stats.power import TTestIndPower, TTestPower

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
        "e": (rest**2).sum() / 24,
    }
    assert found["residual"].raw == pytest.approx(ms["e"])
    assert found["pattern:seed"].raw == pytest.approx((ms["ps"] - ms["e"]) / 5)
    expected = (ms["p"] - ms["ps"] - ms["pr"] + ms["e"]) / 20
    assert found["pattern"].raw == pytest.approx(expected)


def test_components_of_a_simulated_truth_are_recovered():
    truth = {"pattern": 0.3, "seed": 0.5, "row": 0.8, "pattern:seed": 0.2, "pattern:row": 0.4}
    truth |= {"seed:row": 0.6, "residual": 1.0}
    rng, sizes = generator("test", "components"), dict(zip(FACTORS, (12, 15, 40), strict=True))
    raw = {name: [] for name in truth}
    for _ in range(150):
        values = np.zeros(tuple(sizes.values()))
        for name, sd in truth.items():
            part = name.split(":") if name != "residual" else FACTORS
            values = values + rng.normal(0, sd, [sizes[f] if f in part else 1 for f in FACTORS])
        for name, component in stats.variance_components(values, FACTORS).items():
            raw[name].append(component.raw)
    for name, sd in truth.items():
        error = np.std(raw[name]) / np.sqrt(150)
        assert np.mean(raw[name]) == pytest.approx(sd**2, abs=4 * error), name


def test_what_adds_to_the_mean_is_its_variance():
    sizes, sd = (10, 50), (0.5, 0.8, 1.0)
    rng = generator("test", "of the mean")
    means, estimated = [], []
    for _ in range(2000):
        values = rng.normal(0, sd[0], (10, 1)) + rng.normal(0, sd[1], 50) + rng.normal(0, 1, sizes)
        means.append(values.mean())
        found = stats.variance_components(values, ("seed", "row"))
        estimated.append(sum(component.of_mean for component in found.values()))
    assert np.mean(estimated) == pytest.approx(np.var(means), rel=0.1)


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


@pytest.mark.parametrize("n", [3, 5, 10, 40])
@pytest.mark.parametrize("comparisons", [1, 49])
def test_detectable_differences_have_the_power_they_are_said_to_have(n, comparisons):
    # statsmodels has no number for the power of some of these: its other tail is nan.
    alpha = 0.05 / comparisons
    effect = stats.detectable_difference(0.03, n, comparisons=comparisons) / 0.03 * np.sqrt(n)
    assert power_by_integration(effect, n - 1, alpha) == pytest.approx(0.8, abs=1e-7)
    apart = stats.detectable_difference(0.03, n, 0.9, paired=False, comparisons=comparisons)
    effect = apart / 0.03 * np.sqrt(n / 2)
    assert power_by_integration(effect, 2 * n - 2, alpha) == pytest.approx(0.9, abs=1e-7)


def test_detectable_differences_of_common_cases_agree_with_the_solver_of_statsmodels():
    solved = TTestPower().solve_power(nobs=10, alpha=0.05, power=0.8)
    assert stats.detectable_difference(0.03, 10) == pytest.approx(0.03 * solved, rel=1e-5)
    solved = TTestIndPower().solve_power(nobs1=10, alpha=0.01, power=0.9)
    found = stats.detectable_difference(0.03, 10, 0.9, 0.01, paired=False)
    assert found == pytest.approx(0.03 * solved, rel=1e-5)


def test_a_difference_as_large_as_detectable_is_found_as_often_as_said():
    sd = 0.04
    delta = stats.detectable_difference(sd, 10, power=0.8)
    rng = generator("test", "power")
    p = stats.paired_tests(rng.normal(delta, sd, (4000, 10)), np.zeros(10)).p
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.02)


def test_detectable_differences_take_arrays_and_know_their_limits():
    found = stats.detectable_difference(np.array([0.01, 0.02]), 10)
    assert found[1] == pytest.approx(2 * found[0])
    assert np.isnan(stats.detectable_difference(0.1, 1))
    assert np.isnan(stats.detectable_difference(0.1, 2, power=0.95, comparisons=10_000))
    with pytest.raises(ValueError, match="power must lie"):
        stats.detectable_difference(0.1, 10, power=1)
