"""The error of a mean over crossed factors: by hand, by a mixed model, and how well it is kept."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from fewshot.analysis import stats
from fewshot.analysis.stats.crossed_means import signed
from fewshot.rng import generator
from scipy import special
from statsmodels.regression.mixed_linear_model import MixedLM

FACTORS = ("seed", "pattern", "model", "row")


def drawn(rng, shape, deviations):
    """Return normal values [*shape]; `deviations` has the sd of each effect, by its axes."""
    values = np.zeros(shape)
    for effect, sd in deviations.items():
        levels = [size if axis in effect else 1 for axis, size in enumerate(shape)]
        values = values + rng.normal(0, sd, levels)
    return values


def error(values):
    """Return the error of the mean of answers [S, ..., R] of rows that are alone."""
    found = stats.mean_parts(values, np.ones(values.shape[-1]))
    return stats.error_of_mean([stats.Share(found)])


def true_variance(shape, deviations):
    return sum(sd**2 / np.prod([shape[axis] for axis in at]) for at, sd in deviations.items())


def test_factors_that_do_not_meet_add_their_own_errors():
    """Seeds 0, 3, 6, models 0, 2, 4 and rows 0, 1, 2, 3: 9/3 + 4/3 + (5/3)/4 by hand."""
    seeds, models, rows = np.array([0, 3, 6]), np.array([0, 2, 4]), np.arange(4)
    values = seeds[:, None, None] + models[:, None] + rows
    found = stats.mean_parts(values, np.ones(4))
    assert (found.mean, found.draws, found.rows) == pytest.approx((3 + 2 + 1.5, 3, 5 / 12))
    assert found.joint == pytest.approx(0)
    assert found.cells == pytest.approx(3 + 1.5 + models)
    assert error(values).error == pytest.approx(np.sqrt(3 + 4 / 3 + 5 / 12))


def test_the_variance_is_that_of_expected_mean_squares():
    """Of each component, as `component_sums` finds it, what a mean has of it."""
    shape = (5, 3, 4, 6)
    values = generator("test", "means").normal(0, 1, shape)
    squares = stats.mean_squares(values, np.ones(shape[-1]))
    assert len(squares) == 2**4 - 1
    parts = stats.component_sums(values, FACTORS)
    levels = dict(zip(FACTORS, shape, strict=True))
    expected = sum(
        part.value / np.prod([levels[each] for each in names]) for names, part in parts.items()
    )
    assert signed(squares) == pytest.approx(expected)


@pytest.mark.parametrize("strata", [None, np.repeat([0, 1], 10)])
def test_draws_and_rows_alone_are_the_crossed_error(strata):
    rng = generator("test", "two factors")
    sizes = rng.integers(1, 9, 20)
    sums = rng.normal(0, 1, (7, 20)) * sizes
    two = stats.parts(sums, sizes, strata)
    found = stats.mean_parts(sums[:, None, None], sizes, strata)
    assert (found.mean, found.draws, found.rows) == pytest.approx((two.mean, two.draws, two.rows))
    assert (found.joint, found.row_df) == pytest.approx((-two.both, two.row_df))
    expected = stats.error_of(two)
    result = stats.error_of_mean([stats.Share(found)])
    assert (result.error, result.df) == pytest.approx((expected.error, expected.df))
    alone = stats.draws_of_mean([stats.Share(found)])
    assert (alone.error, alone.df) == pytest.approx((np.sqrt(two.draws), 6))


def test_unrelated_draws_are_the_crossed_error_of_both_sides():
    rng = generator("test", "apart")
    rows = rng.normal(0, 1, 30)
    a = rows + rng.normal(0, 0.3, (8, 1)) + rng.normal(0, 0.5, (8, 30))
    b = -rng.normal(0, 0.2, (6, 1)) - rng.normal(0, 0.5, (6, 30))
    ones = np.ones(30)
    both = stats.parts((a.mean(axis=0) + b.mean(axis=0))[None], ones)
    expected = stats.error_apart(stats.parts(a, ones), stats.parts(b, ones), both)
    found = stats.mean_parts_apart(a[:, None, None], b[:, None, None], ones)
    assert found.mean == pytest.approx(a.mean() + b.mean())
    result = stats.error_of_mean([stats.Share(found)])
    assert result.error == pytest.approx(expected.error)
    draws = [values.mean(axis=1).var(ddof=1) / len(values) for values in (a, b)]
    df = sum(draws) ** 2 / (draws[0] ** 2 / 7 + draws[1] ** 2 / 5)
    assert found.draw_df == pytest.approx(df), "Welch's"


def test_unrelated_draws_with_models_are_averaged_where_they_have_no_part():
    """Four draws of one side that agree, three of the other: models and rows are left."""
    models, rows = np.array([[1.0], [2.0], [6.0]]), np.array([0.0, 1.0, 5.0, 6.0])
    a = np.broadcast_to((models + rows)[None, None], (4, 1, 3, 4))
    b = np.zeros((3, 1, 3, 4))
    found = stats.mean_parts_apart(a, b, np.ones(4))
    assert (found.draws, found.joint) == (0, pytest.approx(0))
    expected = models.var(ddof=1) / 3 + rows.var(ddof=1) / 4
    result = stats.error_of_mean([stats.Share(found)])
    assert result.error == pytest.approx(np.sqrt(expected))


def test_a_mixed_model_finds_the_same_error():
    """By restricted likelihood: in a balanced design the two agree where no part is negative."""
    shape = (5, 4, 8)
    deviations = {(0,): 1.5, (1,): 1.5, (2,): 1.2, (0, 1): 0.6, (0, 2): 0.6, (1, 2): 0.7}
    values = drawn(generator("test", "mixed"), shape, {**deviations, (0, 1, 2): 0.5})
    names = ("seed", "model", "row")
    assert min(part.value for part in stats.component_sums(values, names).values()) > 0
    frame = pd.DataFrame(np.indices(shape).reshape(3, -1).T, columns=names)
    frame["value"] = values.ravel()
    for size in (2, 3):
        for several in combinations(names, size):
            frame["_".join(several)] = frame[list(several)].astype(str).agg("-".join, axis=1)
    meetings = ["seed_model", "seed_row", "model_row"]
    parts = {name: f"0 + C({name})" for name in [*names, *meetings]}
    model = MixedLM.from_formula(
        "value ~ 1", frame, groups=np.ones(len(frame)), vc_formula=parts, re_formula="0"
    )
    fitted = model.fit(reml=True)
    assert error(values[:, None]).error == pytest.approx(fitted.bse["Intercept"], rel=0.01)


def test_a_factor_with_one_level_is_fixed():
    values = generator("test", "fixed").normal(0, 1, (6, 1, 1, 9))
    assert set(stats.mean_squares(values, np.ones(9))) == {(0,), (3,), (0, 3)}
    two = stats.error_of(stats.parts(values[:, 0, 0], np.ones(9)))
    assert error(values).error == pytest.approx(two.error)


def test_what_does_not_vary_has_no_error():
    same = error(np.full((5, 1, 3, 7), 0.1))
    assert np.isnan([same.error, same.df]).all()


def task(draws, rows, models):
    """Return the parts of a task with factors that do not meet."""
    values = np.add.outer(np.add.outer(draws, models), rows)[:, None]
    return stats.mean_parts(values, np.ones(len(rows)))


def test_tasks_share_models_and_add_what_is_their_own():
    """Models 0, 3 and 3, 0 over two tasks cancel; draws and rows of each count a quarter."""
    draws, rows = np.array([0.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.0])
    a = task(draws, rows, np.array([0.0, 3.0, 6.0]))
    b = task(2 * draws, rows, np.array([6.0, 3.0, 0.0]))
    shares = [stats.Share(a, 0.5, "a", "a"), stats.Share(b, 0.5, "b", "b")]
    own = (4 / 3 + 16 / 3 + 2 * (5 / 3) / 4) / 4
    assert stats.error_of_mean(shares).error == pytest.approx(np.sqrt(own))
    same = [stats.Share(a, 0.5, "a", "a"), stats.Share(a, 0.5, "b", "b")]
    expected = 2 * (4 / 3 + 5 / 12) / 4 + 9 / 3
    assert stats.error_of_mean(same).error == pytest.approx(np.sqrt(expected)), "models in common"
    alone = (4 / 3 + 16 / 3) / 4
    assert stats.draws_of_mean(shares).error == pytest.approx(np.sqrt(alone))


def test_sets_of_the_same_draws_or_rows_are_no_two_samples():
    """Twice the same is no better than once; of the same rows, only draws are."""
    draws, rows = np.array([0.0, 2.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.0])
    one = task(draws, rows, np.array([1.0]))
    twice = [stats.Share(one, 0.5, "a", "hans")] * 2
    once = stats.error_of_mean([stats.Share(one)])
    assert stats.error_of_mean(twice).error == pytest.approx(once.error)
    apart = [stats.Share(one, 0.5, name, "hans") for name in ("a", "b")]
    assert stats.error_of_mean(apart).error == pytest.approx(np.sqrt(4 / 3 / 2 + 5 / 12))


TYPICAL = {(0,): 0.02, (2,): 0.03, (3,): 0.15, (0, 2): 0.03, (0, 3): 0.1, (2, 3): 0.25}
TYPICAL |= {(0, 2, 3): 0.5}
"""Standard deviations of a difference of answers: draws, models, rows, and what they make of each
other; the difference is -1, 0 or 1."""


def simulated(name, models, seeds, deviations, count, rows=80):
    """Return V over its true value, and the share of p < 0.05 (percent), of true nulls."""
    rng = generator("test", "null", name, models, seeds)
    shape = (seeds, 1, models, rows)
    ratios, rejected = [], 0
    for _ in range(count):
        values = drawn(rng, shape, deviations)
        ratios.append(signed(stats.mean_squares(values, np.ones(rows))))
        found = error(values)
        rejected += 2 * special.stdtr(found.df, -abs(values.mean()) / found.error) < 0.05
    return np.mean(ratios) / true_variance(shape, deviations), 100 * rejected / count


@pytest.mark.slow
@pytest.mark.parametrize("models", [3, 5, 7])
@pytest.mark.parametrize("seeds", [5, 10])
def test_the_variance_is_unbiased_and_the_test_keeps_its_level(models, seeds):
    """600 nulls have a standard error of 0.9 points. Measured with 4,000: 3.5 to 5.7 %."""
    ratio, rejected = simulated("typical", models, seeds, TYPICAL, 600)
    assert ratio == pytest.approx(1, abs=0.12)
    assert 2.2 < rejected < 7.5


@pytest.mark.slow
@pytest.mark.parametrize("models", [3, 5, 7])
def test_models_that_do_not_differ_make_the_test_cautious(models):
    """With nothing but noise each mean square is of a few numbers; the lower bound finds less."""
    ratio, rejected = simulated("noise", models, 5, {(0, 2, 3): 0.5}, 600)
    assert ratio == pytest.approx(1, abs=0.12)
    assert rejected < 5
