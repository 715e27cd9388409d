"""Scores beyond accuracy, against scikit-learn and hand-worked cases, and how they travel."""

import numpy as np
import pandas as pd
import pytest
from fewshot.analysis import predictions
from fewshot.analysis.label_probabilities import label_weights, probabilities
from fewshot.analysis.predictions import pack, score_rows, unpack
from fewshot.analysis.summary import at_level
from fewshot.data.evaluation_sets import EvaluationSet
from sklearn import metrics as reference


def scored(merge, gold, logprobs, count=None):
    rows = pd.DataFrame({"id": np.arange(len(gold)), "label": gold, "group": None, "subset": None})
    item = EvaluationSet("set", merge, rows)
    ranks = [np.asarray(values, dtype="float32") for values in logprobs]
    return score_rows({"id": rows["id"], "label": np.array(gold), "ranks": ranks}, item, ""), item


@pytest.mark.parametrize("labels", [2, 3])
def test_scores_are_those_of_scikit_learn(labels):
    rng = np.random.default_rng(labels)
    gold = rng.integers(0, labels, 500)
    logprobs = np.log(rng.dirichlet(np.ones(labels), 500)).T - 3  # the words share 5 %
    block, _ = scored(tuple(range(labels)), gold, logprobs)
    found = predictions.row_scores(block)
    predicted = logprobs.argmax(axis=0)
    assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(gold, predicted))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(gold, predicted, average="macro"))
    shares = np.exp(logprobs + 3).T
    onehot = np.eye(labels)[gold]
    assert found["brier"] == pytest.approx(((shares - onehot) ** 2).sum(axis=1).mean(), rel=1e-5)
    confidence = shares.max(axis=1)
    edges = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
    error = sum(
        abs((predicted == gold)[edges == i].mean() - confidence[edges == i].mean())
        * (edges == i).mean()
        for i in set(edges)
    )
    assert found["ece"] == pytest.approx(error, rel=1e-4)
    if labels == 2:
        assert found["f1"] == pytest.approx(reference.f1_score(gold, predicted))
        assert found["brier"] == pytest.approx(
            2 * reference.brier_score_loss(gold, shares[:, 1]), rel=1e-5
        )
    else:
        assert np.isnan(found["f1"])


def test_one_matrix_of_three_labels_has_numbers_for_scores():
    """Scores of one evaluation set go into a frame: an array in it could not be stored."""
    found = predictions.of_confusion(np.array([[4, 1, 0], [0, 5, 2], [1, 0, 3]]))
    assert all(np.isscalar(value) for value in found.values())
    assert np.isnan(found["f1"]) and not np.isnan(found["macro_f1"])


def test_probabilities_of_words_that_count_alike_are_added():
    ranks = [np.log([0.2, 0.5]), np.log([0.1, 0.25]), np.log([0.1, 0.25])]
    np.testing.assert_allclose(
        probabilities(label_weights(ranks, (0, 1, 1), 2)), [[0.5, 0.5], [0.5, 0.5]]
    )


def test_impossible_words_share_what_there_is():
    nothing = np.array([-np.inf])
    found = probabilities(label_weights([nothing, nothing], (0, 1), 2))
    assert found.tolist() == [[0.5, 0.5]]


def test_the_confidence_is_that_of_the_predicted_label_even_if_merged_words_have_more():
    block, _ = scored((0, 1, 1), [0], np.log([[0.4], [0.3], [0.3]]))
    assert block.predicted.tolist() == [0]
    assert predictions.row_scores(block)["ece"] == pytest.approx(0.6)


@pytest.mark.parametrize("n", [1, 8, 13])
def test_packed_answers_come_back_as_they_were(n):
    correct = np.random.default_rng(n).random((3, n)) < 0.5
    packed = [pack(line) for line in correct]
    assert {len(bits) for bits in packed} == {(n + 7) // 8}
    assert (unpack(packed, n) == correct).all()
    with pytest.raises(ValueError, match="do not hold"):
        unpack(packed, n + 8)


def test_scores_from_counts_are_those_from_predictions(study):
    rows = at_level(study.metrics)
    rows = rows[(rows["status"] == "ok") & (rows["domain"] != "train")]
    kept = rows[rows["selection"] == "last"].iloc[::7]
    assert kept[["mcc", "f1", "macro_f1", "brier", "ece"]].notna().all(axis=None)
    key = ["task", "model", "method", "k", "seed", "evaluation_set", "epoch"]
    each = rows[rows["selection"] == "each"].set_index(key)
    for row in kept.to_dict("records"):
        same = each.loc[tuple(row[name] for name in key)]
        assert all(same[name] == row[name] for name in predictions.NAMES)
    early = each[each.index.get_level_values("epoch") == 1]
    assert early["mcc"].notna().all(), "counts by label are enough"
    assert early["ece"].isna().any(), "calibration needs row predictions"


def test_accuracies_over_a_sample_have_no_calibration(sampled_study):
    rows = at_level(sampled_study.metrics)
    rows = rows[(rows["status"] == "ok") & (rows["evaluation_set"] == "hans")]
    assert rows.loc[rows["n"] == 60, "brier"].isna().all()
    assert rows.loc[rows["n"] == 60, "mcc"].notna().all()
    assert rows.loc[rows["n"] == 240, "brier"].notna().all()
