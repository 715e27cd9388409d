"""Variance by source, by hand."""

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator

FACTORS = ("pattern", "seed", "row")


def components(values, factors) -> dict[str, float]:
    """Return the estimates by the names of their factors, in their order."""
    found = stats.component_sums(values, factors)
    return {
        ":".join(f for f in factors if f in effect): part.value for effect, part in found.items()
    }


def test_two_factors_by_hand():
    # means of lines 2, 5; of columns 2, 3, 5.5: SS 13.5, 13 and 1; MS 13.5, 6.5, 0.5
    found = components([[1, 1, 4], [3, 5, 7]], ("seed", "row"))
    assert list(found) == ["seed", "row", "seed:row"]
    assert found["seed:row"] == pytest.approx(0.5)
    assert found["seed"] == pytest.approx((13.5 - 0.5) / 3)
    assert found["row"] == pytest.approx((6.5 - 0.5) / 2)


def test_three_factors_agree_with_the_table_of_expected_mean_squares():
    values = generator("test", "ems").normal(0, 1, (3, 4, 5))
    found = components(values, FACTORS)
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
    assert found["pattern:seed:row"] == pytest.approx(ms["e"])
    assert found["pattern:seed"] == pytest.approx((ms["ps"] - ms["e"]) / 5)
    expected = (ms["p"] - ms["ps"] - ms["pr"] + ms["e"]) / 20
    assert found["pattern"] == pytest.approx(expected)
    expected = (ms["r"] - ms["pr"] - ms["sr"] + ms["e"]) / 12
    assert found["row"] == pytest.approx(expected)


def test_an_estimate_may_be_negative_and_its_bounds_are_not():
    # A chessboard: lines and columns have equal means, so all is meeting.
    found = stats.component_sums([[1, 0], [0, 1]], ("seed", "row"))
    seed, both = found[frozenset({"seed"})], found[frozenset({"seed", "row"})]
    assert (seed.value, both.value) == (pytest.approx(-0.5), pytest.approx(1))
    assert stats.square_sum_interval(seed)[0] == 0


def test_nothing_that_varies_has_no_bounds():
    same = stats.component_sums(np.ones((2, 3)), ("seed", "row"))
    assert {part.value for part in same.values()} == {0}
    assert np.isnan([stats.square_sum_interval(part) for part in same.values()]).all()
    bounds = stats.crossed_jackknife(lambda v: [v.mean()], np.ones((4, 5)), (0, 1))
    assert np.isnan(bounds).all()


def test_a_factor_with_one_level_has_no_component_and_changes_no_other():
    values = generator("test", "one pattern").random((1, 4, 6)) < 0.6
    plain = components(values[0], ("seed", "row"))
    assert components(values, FACTORS) == pytest.approx(plain)
    assert set(plain) == {"seed", "row", "seed:row"}


def test_incomplete_scores_are_refused():
    with pytest.raises(ValueError, match="a score is missing"):
        stats.component_sums([[1, np.nan]], ("seed", "row"))
    with pytest.raises(ValueError, match="2 axes do not fit"):
        stats.component_sums([[1, 2]], FACTORS)


def test_sensitivity_to_prompts_is_averaged_over_complete_seeds():
    values = np.array([[0.5, 0.6, 0.9], [0.7, 0.6, np.nan], [0.6, 0.9, 0.9]])
    found = stats.prompt_sensitivity(values)
    assert (found.patterns, found.seeds) == (3, 2)
    assert found.spread == pytest.approx((0.2 + 0.3) / 2)
    assert found.sd == pytest.approx((0.1 + np.std([0.6, 0.6, 0.9], ddof=1)) / 2)
    assert stats.prompt_sensitivity([0.5, 0.7]).spread == pytest.approx(0.2)
    assert np.isnan(stats.prompt_sensitivity([0.5]).sd)
    assert stats.prompt_sensitivity(np.full((2, 3), np.nan)).seeds == 0
