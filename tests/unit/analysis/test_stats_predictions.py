"""Scores and calibration of predictions against scikit-learn and by hand."""

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

TABLES = st.integers(2, 4).flatmap(lambda n: arrays(int, (n, n), elements=st.integers(0, 9)))


def rows_of(confusion):
    """Return gold and predicted labels of every row that a confusion matrix counts."""
    gold, predicted = np.indices(confusion.shape)
    return tuple(np.repeat(x.ravel(), confusion.ravel()) for x in (gold, predicted))


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(TABLES.filter(np.any))
def test_scores_agree_with_scikit_learn(confusion):
    gold, predicted = rows_of(confusion)
    labels = list(range(len(confusion)))
    assert stats.accuracy(confusion) == pytest.approx(reference.accuracy_score(gold, predicted))
    expected = reference.matthews_corrcoef(gold, predicted)
    assert stats.matthews(confusion) == pytest.approx(expected, abs=1e-12)
    each = reference.f1_score(gold, predicted, labels=labels, average=None, zero_division=0)
    assert [stats.f1(confusion, label) for label in labels] == pytest.approx(each)
    assert stats.macro_f1(confusion) == pytest.approx(each.mean())


def test_an_answer_that_never_changes_correlates_with_nothing():
    always = np.array([[322, 0], [721, 0]])
    assert (stats.matthews(always), stats.f1(always)) == (0, 0)
    large = always * 1_000_003
    assert stats.matthews(large) == 0


def test_many_matrices_at_once_and_none():
    many = np.array([[[5, 1], [2, 7]], [[0, 0], [0, 0]]])
    for score in (stats.accuracy, stats.matthews, stats.f1, stats.macro_f1):
        found = score(many)
        assert found.shape == (2,)
        assert found[0] == score(many[0])
        assert np.isnan(found[1])


def test_brier_of_three_labels_agrees_with_scikit_learn_and_by_hand():
    rng = generator("test", "brier", 3)
    p, labels = rng.dirichlet(np.ones(3), 400), rng.integers(0, 3, 400)
    expected = reference.brier_score_loss(labels, p, labels=[0, 1, 2], scale_by_half=False)
    assert stats.brier(p, labels) == pytest.approx(expected)
    assert stats.brier(np.array([[0.5, 0.3, 0.2]]), [1]) == pytest.approx(0.25 + 0.49 + 0.04)
    assert stats.brier(np.eye(3), [0, 1, 2]) == 0
    assert np.isnan(stats.brier(np.empty((0, 2)), []))


def test_reliability_agrees_with_scikit_learn():
    rng = generator("test", "reliability")
    confidence = rng.random(2000)
    correct = rng.random(2000) < confidence**2
    found = stats.reliability(confidence, correct, 10)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    assert found.accuracy == pytest.approx(accuracy)
    assert found.confidence == pytest.approx(mean)
    assert found.count.sum() == 2000
    weighted = (found.count * np.abs(accuracy - mean)).sum() / 2000
    assert stats.calibration_error(confidence, correct, 10) == pytest.approx(weighted)


def test_calibration_error_by_hand():
    # bins of a fifth: two rows at 0.9 half right, two at 0.7 both right
    found = stats.reliability([0.9, 0.9, 0.7, 0.7], [True, False, True, True], 5)
    assert found.count.tolist() == [0, 0, 0, 2, 2]
    assert np.isnan(found.accuracy[:3]).all()
    assert found.error == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)
    assert np.isnan(stats.calibration_error([], []))


def test_a_bin_holds_its_upper_edge():
    found = stats.reliability([0.0, 0.5, 0.50001, 1.0], [1, 0, 1, 1], 2)
    assert found.count.tolist() == [2, 2]
    assert found.accuracy.tolist() == [0.5, 1]


def test_what_rounding_lifts_above_one_is_taken_and_the_rest_refused():
    assert stats.calibration_error([np.exp(np.float32(1e-6))], [1]) == pytest.approx(0, abs=1e-5)
    for wrong in (1.01, -0.2, np.nan):
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            stats.calibration_error([wrong], [1])
        with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
            stats.brier([[wrong, 0]], [1])
    with pytest.raises(ValueError, match="one outcome per row"):
        stats.reliability([0.5, 0.6], [1])
    with pytest.raises(ValueError, match="a label per row"):
        stats.brier([[0.5, 0.5]], [1, 0])
