"""Power by statsmodels, by published numbers, and by studies from a simulator of its own."""

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.analysis.stats import power
from scipy import stats as reference
from statsmodels.stats.power import TTestPower

STUDIES = 1500


def expected(error, df) -> power.Expected:
    return power.Expected(error, df, df)


@pytest.mark.parametrize("n", [3, 10, 20])
@pytest.mark.parametrize("size", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 60])
def test_power_of_a_paired_t_test_is_that_of_statsmodels(n, size, alpha):
    found = power.difference_power(expected(n**-0.5, n - 1), size, alpha)
    assert found == pytest.approx(TTestPower().power(size, n, alpha), abs=2e-6)


def test_power_with_a_quantile_of_fewer_degrees_of_freedom_is_that_of_the_noncentral_t():
    found = power.Expected(2.0, 11.8, 4.2)
    critical = reference.t.isf(0.025, 4.2)
    tails = reference.nct.sf(critical, 11.8, 2.5), reference.nct.cdf(-critical, 11.8, 2.5)
    assert power.difference_power(found, 5.0) == pytest.approx(sum(tails), abs=1e-6)


@pytest.mark.parametrize(
    ("cv", "n", "ratio", "chance"),
    [(0.3, 40, 0.95, 0.815845), (0.2, 20, 0.95, 0.834680), (0.25, 28, 0.95, 0.807439)],
)
def test_equivalence_has_the_power_that_is_published(cv, n, ratio, chance):
    """Owen's Q, by PowerTOST, of crossover trials on the log scale with limits 0.8 and 1.25."""
    found = expected(np.sqrt(np.log(1 + cv**2) * 2 / n), n - 2)
    got = power.equivalence_power(found, np.log(1.25), difference=np.log(ratio))
    assert got == pytest.approx(chance, abs=2e-6)


def test_what_is_detectable_and_provable_has_the_power_asked_for():
    found = power.expected_error(power.Sources(0.003, 0.0005, 0.0005, 276), 10)
    size = power.detectable_difference(found, 0.8, 0.01)
    assert power.difference_power(found, size, 0.01) == pytest.approx(0.8)
    margin = power.provable_margin(found, 0.9)
    assert power.equivalence_power(found, margin) == pytest.approx(0.9)
    # A normal statistic: (z_{0.975} + z_{0.8}) and (z_{0.95} + z_{0.9}) standard errors.
    large = expected(1.0, 10.0**7)
    assert power.detectable_difference(large) == pytest.approx(1.959964 + 0.841621, abs=1e-4)
    assert power.provable_margin(large) == pytest.approx(1.644854 + 1.281552, abs=1e-4)


def test_sources_are_those_of_the_parts_and_give_them_back():
    """By hand, of ten seeds: draws 10 · (9 - 2), rows 5 - 2, both 10 · 2, in units of 1e-4."""
    found = power.sources_of(9e-4, 5e-4, 2e-4, 10, 99)
    assert found == power.Sources(*map(pytest.approx, (70e-4, 3e-4, 20e-4)), 99, False)
    error = power.expected_error(found, 10)
    assert error.error**2 == pytest.approx((9 + 5 - 2) * 1e-4)
    assert error.df == pytest.approx((12**2) / (9**2 / 9 + 5**2 / 99))
    assert power.expected_error(found, 40).error ** 2 == pytest.approx((90 / 40 + 3) * 1e-4)
    assert power.sources_of(1e-4, 3e-4, 2e-4, 5, 99).draws == 0, "a negative estimate"
    two = power.sources_of([9e-4, 1e-4], [5e-4, 3e-4], [2e-4, 2e-4], [10, 10], 99)
    assert two.draws == pytest.approx((70e-4 - 10e-4) / 2), "cut after the mean"


def test_draws_apart_have_the_same_error_and_more_degrees_of_freedom():
    shared = power.Sources(70e-4, 3e-4, 20e-4, 99)
    one, two = (
        power.expected_error(each, 10)
        for each in (shared, power.Sources(70e-4, 3e-4, 20e-4, 99, True))
    )
    assert two.error == pytest.approx(one.error) and two.df > one.df


def test_no_error_is_known_of_one_seed_or_where_nothing_varies():
    for found in (
        power.expected_error(power.Sources(1e-3, 1e-4, 1e-4, 99), 1),
        power.expected_error(power.Sources(0.0, 0.0, 0.0, 99), 10),
    ):
        assert np.isnan([found.error, power.detectable_difference(found)]).all()
        assert np.isnan(power.provable_margin(found))


def test_more_seeds_help_as_far_as_the_rows_allow():
    sources = power.Sources(0.003, 0.0002, 0.0005, 276)

    def reaches(difference):
        return lambda found: power.difference_power(found, difference)

    needed = power.seeds_needed(sources, reaches(0.06))
    chances = [reaches(0.06)(power.expected_error(sources, n)) for n in (needed - 1, needed)]
    assert chances[0] < 0.8 <= chances[1]
    floor = power.detectable_difference(power.expected_error(sources, power.ENDLESS))
    assert floor == pytest.approx(power.detectable_difference(expected(0.0002**0.5, 276)), rel=1e-4)
    assert power.seeds_needed(sources, reaches(0.99 * floor)) is None
    assert power.seeds_needed(sources, reaches(1.01 * floor)) > 100
    assert power.seeds_needed(sources, reaches(0.9)) == 2


@pytest.mark.parametrize("row_df", [3, 9, 276])
def test_power_grows_with_seeds(row_df):
    sources = power.Sources(0.004, 0.0003, 0.0006, row_df)
    chances = [power.expected_error(sources, seeds) for seeds in range(2, 40)]
    assert (np.diff([power.difference_power(each, 0.08) for each in chances]) > 0).all()
    assert (np.diff([power.equivalence_power(each, 0.08) for each in chances]) > 0).all()


WIDTH, STEP, BASE, ROWS = 0.09, 0.12, 0.5, 240
"""Chances of an answer: BASE, ± STEP by cluster, and up to WIDTH more or less by draw."""


def study(rng, seeds, clusters, difference):
    """Return how many more rows of each cluster one method has right than the other, [S, C]."""
    size = ROWS // clusters

    def answers(level):
        of_draw = rng.uniform(-WIDTH, WIDTH, (seeds, 1, 1))
        of_cluster = STEP * rng.choice([-1, 1], (1, clusters, 1))
        return rng.random((seeds, clusters, size)) < level + of_draw + of_cluster

    return answers(BASE + difference).sum(axis=2) - answers(BASE).sum(axis=2)


def truth(clusters, difference) -> power.Sources:
    """Return the sources of such a study: variances of uniform, two-point and 0/1 variables."""
    by_draw, by_cluster = WIDTH**2 / 3, STEP**2
    levels = np.array([BASE, BASE + difference])
    answer = (levels * (1 - levels) - by_draw - by_cluster).sum()
    return power.Sources(2 * by_draw, 2 * by_cluster / clusters, answer / ROWS, clusters - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "clusters"), [(3, 240), (5, 240), (10, 240), (10, 24), (5, 12)])
def test_simulated_studies_find_as_often_as_predicted(seeds, clusters):
    """0/1 answers, tested as a study is; rates of 1,500 studies have an error of 1.3 points."""
    rng = np.random.default_rng([seeds, clusters])
    sources = truth(clusters, 0.0)
    found = power.expected_error(sources, seeds)
    difference = min(power.detectable_difference(found, 0.7), 1 - BASE - STEP - WIDTH)
    sizes, tests = np.full(clusters, ROWS // clusters), []
    for true in (difference, 0.0):
        parts = [stats.parts(study(rng, seeds, clusters, true), sizes) for _ in range(STUDIES)]
        errors = [stats.error_of(each) for each in parts]
        error, df = (np.array([getattr(each, name) for each in errors]) for name in ("error", "df"))
        tests.append((np.array([each.mean for each in parts]), error, df))
    there = power.expected_error(truth(clusters, difference), seeds)
    rate = (stats.t_test(*tests[0]) < 0.05).mean()
    assert rate == pytest.approx(power.difference_power(there, difference), abs=0.04)
    margin = power.provable_margin(found, 0.6)
    rate = (stats.equivalence_test(*tests[1], margin) < 0.05).mean()
    assert rate == pytest.approx(0.6, abs=0.04)
