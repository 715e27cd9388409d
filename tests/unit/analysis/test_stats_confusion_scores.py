"""Resampled Matthews correlation and F1: by hand, on rows written out, and where arms are equal."""

import numpy as np
import pytest
from fewshot.analysis import stats
from fewshot.analysis.predictions import of_confusion
from fewshot.analysis.stats import confusion_scores as module
from fewshot.rng import generator

NAMES = ("f1", "mcc")
GOLD = np.array([0, 0, 0, 1, 1, 1])
CORRECT = np.array([[1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 0, 0]])


def explicit(name, correct, gold, rows):
    """Return the score of one seed on `rows`, drawn one by one, from labels as predicted."""
    gold, right = gold[rows], correct[rows]
    predicted = np.where(right, gold, 1 - gold)
    if name == "mcc":  # Matthews correlation is Pearson's of the two labels.
        return np.corrcoef(gold, predicted)[0, 1]
    hits = (gold & predicted).sum()
    return 2 * hits / (gold.sum() + predicted.sum())


def test_counts_and_scores_by_hand():
    weights = np.array([[1, 1, 1, 1, 1, 1], [0, 2, 1, 2, 1, 0]], dtype=np.float32)
    found = stats.resampled_confusions(CORRECT, GOLD, weights)
    assert found.tolist() == [
        [[[2, 1], [2, 1]], [[2, 1], [1, 2]]],
        [[[3, 0], [3, 0]], [[3, 0], [3, 0]]],
    ]
    # 2 TP / (2 TP + FP + FN): 2 / 5 and 4 / 6; the second seed never says 1.
    f1 = stats.resampled_metric("f1", CORRECT, GOLD, weights)
    assert f1 == pytest.approx(np.array([[0.4, 2 / 3], [0, 0]]))
    # (TP TN - FP FN) / √(products of the margins): (2 - 2) / √.. and (4 - 1) / √(3 · 3 · 3 · 3).
    mcc = stats.resampled_metric("mcc", CORRECT, GOLD, weights)
    assert mcc == pytest.approx(np.array([[0, 1 / 3], [0, 0]]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("clustered", [False, True], ids=["rows", "clusters"])
def test_they_are_the_scores_of_the_rows_that_are_drawn(name, clustered, monkeypatch):
    """Rows are written out as often as they are drawn; three resamples are a block."""
    monkeypatch.setattr(module, "_BLOCK", 3)
    rng = generator("test", "explicit", name)
    gold = (rng.random(60) < 0.4).astype(int)
    correct = rng.random((4, 60)) < 0.7
    clusters = rng.permutation(np.arange(60) % 25) if clustered else np.arange(60)
    weights = stats.row_weights(rng, 8, clusters.max() + 1)
    given = clusters if clustered else None
    found = stats.resampled_metric(name, correct, gold, weights, given)
    drawn = [np.repeat(np.arange(60), line[clusters].astype(int)) for line in weights]
    expected = [[explicit(name, seed, gold, rows) for rows in drawn] for seed in correct]
    assert found == pytest.approx(np.array(expected))
    assert np.ptp(found, axis=1).min() > 0.01, "resamples differ"


@pytest.mark.parametrize("name", NAMES)
def test_every_row_once_gives_the_mean_that_tables_print(name):
    once, equal = np.ones((1, 6), dtype=np.float32), np.full((1, 2), 0.5)
    confusions = np.array([[[2, 1], [2, 1]], [[3, 0], [3, 0]]])
    found = stats.over_seeds(stats.resampled_metric(name, CORRECT, GOLD, once), equal)
    assert found == pytest.approx([of_confusion(confusions)[name].mean()])


@pytest.mark.parametrize("name", NAMES)
def test_a_resample_without_the_label_has_the_score_that_one_run_would_have(name):
    """Nothing is, or is predicted as, label 1; then rows of label 0 are wrong, which says 1."""
    weights = np.array([[3, 3, 0, 0, 0, 0], [0, 0, 6, 0, 0, 0]], dtype=np.float32)
    alone = {"f1": stats.f1, "mcc": stats.matthews}[name]
    expected = [alone(np.array([[6, 0], [0, 0]])), alone(np.array([[0, 6], [0, 0]]))]
    assert expected == [0, 0]
    assert stats.resampled_metric(name, CORRECT[:1], GOLD, weights).tolist() == [expected]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "kappa"}, "no score 'kappa'; valid: mcc, f1"),
        ({"gold": GOLD * 2}, "gold labels other than 0 and 1"),
        ({"correct": CORRECT * 0.5}, "answers other than 0 and 1"),
        ({"gold": GOLD[:5]}, r"do not fit labels of shape \(5,\)"),
        ({"correct": CORRECT[0]}, r"do not fit labels of shape \(6,\)"),
        ({"weights": np.ones((2, 5))}, "size 5 is different from 6|dimension"),
    ],
)
def test_what_they_refuse(changes, message):
    given = {"name": "f1", "correct": CORRECT, "gold": GOLD, "weights": np.ones((2, 6))}
    with pytest.raises(ValueError, match=message):
        stats.resampled_metric(**{**given, **changes})


def equal_arms(rng, sd, seeds=10, rows=500):
    """Return gold labels and the answers of two arms that are equally good.

    Draws favour answers (sd[0], for each label), rows are hard for one arm or the other (sd[1]),
    and some answers go either way (sd[2]).
    """
    gold = (rng.random(rows) < 0.37).astype(int)
    arms = [
        0.8
        + rng.normal(0, sd[0], (seeds, 2))[:, gold]
        + rng.normal(0, sd[1], rows)
        + rng.normal(0, sd[2], (seeds, rows))
        > 0
        for _ in "ab"
    ]
    return gold, arms


def rejections(sd, count=500, resamples=499):
    """Return how often equal arms differ at 5 %: by score and by whether seeds are resampled."""
    rng = generator("test", "equal arms", *sd)
    found = np.zeros((count, len(NAMES), 2), dtype=bool)
    for line in found:
        gold, arms = equal_arms(rng, sd)
        weights = stats.row_weights(rng, resamples, len(gold))
        drawn = stats.seed_weights(rng, resamples, len(arms[0]))
        once = np.ones((1, len(gold)))
        for place, name in enumerate(NAMES):
            a, b = (stats.resampled_metric(name, arm, gold, weights) for arm in arms)
            means = [stats.resampled_metric(name, arm, gold, once).mean() for arm in arms]
            for kind, seeds in enumerate((drawn, np.full_like(drawn, 1 / drawn.shape[1]))):
                lines = [stats.over_seeds(each, seeds) for each in (a, b)]
                p = stats.crossed_bootstrap(*lines, means[0] - means[1], len(a)).p
                line[place, kind] = p < 0.05
    return found.mean(axis=0)


@pytest.mark.weekly
@pytest.mark.parametrize(
    "sd", [(0.5, 0.5, 0.5), (0.5, 0.1, 0.3), (0.1, 1.0, 0.2)], ids=["both", "draws", "rows"]
)
def test_equal_arms_seldom_differ(sd):
    """Ten seeds and 500 rows: within three standard errors of 5 %, √(0.05 · 0.95 / 500) each."""
    rates = rejections(sd)
    print(f"rejected at 5 %: {dict(zip(NAMES, rates.tolist(), strict=True))}")
    assert (np.abs(rates[:, 0] - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 500)).all()
    if sd[0] > sd[1]:
        assert (rates[:, 1] > 0.3).all(), "other rows alone say too little"


@pytest.mark.parametrize("name", NAMES)
def test_linearised_values_have_the_score_as_mean_and_its_slopes(name):
    """Their spread is what one more row of a kind does, by the score of rows written out."""
    rng = generator("test", "linearised", name)
    rows = 400
    gold, correct = rng.integers(0, 2, rows), rng.random((3, rows)) < 0.7
    values = stats.linearised_metric(name, correct, gold)
    order = np.arange(rows)
    for seed in range(3):
        score = explicit(name, correct[seed], gold, order)
        assert values[seed].mean() == pytest.approx(score)
        for row in range(8):  # A row many times over, and the first order of what that changes.
            more = np.concatenate([np.tile(order, 50), [row]])
            change = explicit(name, correct[seed], gold, more) - score
            assert values[seed, row] - score == pytest.approx(change * len(more), abs=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_that_is_undefined_does_not_vary(name):
    """A model that says one label only: by one row nothing is told of a score."""
    gold = np.array([0, 1, 0, 1])
    values = stats.linearised_metric(name, np.array([[True, False, True, False]]), gold)
    assert values.tolist() == [[0, 0, 0, 0]]
    with pytest.raises(ValueError, match="no score 'recall'"):
        stats.linearised_metric("recall", np.ones((1, 4)), gold)
