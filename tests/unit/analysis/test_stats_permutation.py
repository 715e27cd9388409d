"""The sign-flip test against scipy, and its floor; what the texts about floors say."""

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

GRID = st.integers(-3, 3)  # many ties and zeros


def by_scipy(a, b):
    """Return the exact two-sided p of the mean difference under exchanges within pairs."""
    found = reference.permutation_test(
        (np.asarray(a, float), np.asarray(b, float)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    return found.pvalue


@given(st.lists(st.tuples(GRID, GRID), min_size=2, max_size=7))
def test_it_agrees_with_scipy(pairs):
    a, b = np.array(pairs).T
    # Tenths are not exact, so equal sums differ by rounding; scipy is given whole numbers.
    found = stats.permutation_tests(a / 10, b / 10)
    assert found.p == pytest.approx(by_scipy(a, b), abs=1e-12)
    assert found.p >= found.floor
    assert (found.exact, found.count, found.n) == (True, 2 ** len(pairs), len(pairs))


def test_the_floor_is_reached_by_differences_of_one_sign_and_rises_with_ties():
    a = np.arange(1.0, 11.0)
    assert stats.permutation_tests(a, np.zeros(10)).p == 2 / 1024 == stats.permutation_floor(10)
    tied = stats.permutation_tests(a, np.r_[a[:3], np.zeros(7)])
    assert tied.p == tied.floor == stats.permutation_floor(7)
    same = stats.permutation_tests(a, a)
    assert (same.p, same.floor) == (1, 1)


def test_ten_seeds_can_never_pass_holm_over_49_cells():
    assert stats.holm_floor(10, 49) == pytest.approx(49 * 2 / 1024)
    assert stats.holm_floor(10, 49) > 0.05 > stats.holm_floor(11, 49)
    a = np.full((49, 10), 0.9) + np.arange(10) / 100
    p = stats.permutation_tests(a, np.zeros(10)).p
    assert stats.holm(p) == pytest.approx(np.full(49, stats.holm_floor(10, 49)))
    assert stats.permutation_floor(np.array([0, 1, 3])).tolist() == [1, 1, 0.25]
    assert stats.holm_floor(1, 49) == 1


def test_many_random_draws_come_close_to_all_assignments():
    rng = generator("test", "monte carlo")
    a, b = rng.normal(0.5, 1, 12), rng.normal(0, 1, 12)
    exact = stats.permutation_tests(a, b)
    drawn = stats.permutation_tests(a, b, generator("test", "signs"), most=4000)
    assert (drawn.exact, drawn.count) == (False, 4000)
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p / 4000))
    assert drawn.p != exact.p
    large = stats.permutation_tests(np.full(12, 9.0), b, generator("test", "signs"), most=999)
    assert large.floor == 1 / 1000
    assert large.p >= large.floor
    with pytest.raises(ValueError, match="a generator is needed"):
        stats.permutation_tests(a, b, most=1000)


def test_matrices_leave_missing_seeds_out_pair_by_pair():
    rng = generator("test", "matrix")
    a, b = rng.normal(0.5, 1, (3, 8)), rng.normal(0, 1, (2, 8))
    a[1, [0, 5]], b[1, 7], a[2] = np.nan, np.nan, np.nan
    found = stats.permutation_tests(a[:, None], b[None])
    assert found.n.tolist() == [[8, 7], [6, 5], [0, 0]]
    for i, j in np.ndindex(2, 2):
        there = ~np.isnan(a[i] - b[j])
        one = stats.permutation_tests(a[i, there], b[j, there])
        assert (found.p[i, j], found.floor[i, j]) == (one.p, one.floor)
        assert (found.count[i, j], one.count) == (2 ** found.n[i, j],) * 2
    assert np.isnan(found.p[2]).all()


def test_the_note_on_floors_says_which_test_can_never_be_significant():
    note = stats.floor_note(10, 49, 9999)
    assert "permutation test of 10 seeds is 0.002; over 49 comparisons" in note
    assert "makes it 0.096, so that it can never fall below 0.05" in note
    assert "9,999 resamples is 0.0002" in note
    assert "0.0098, so that it can fall below 0.05" in note
    assert "never" not in stats.floor_note(12, 49, 9999)
    assert set(stats.MEANING) == {
        "crossed",
        "welch",
        "paired",
        "permutation",
        "bootstrap",
    }
