"""Calibrated predictions and areas under the ROC curve, against published arithmetic by hand."""

import numpy as np
import pandas as pd
import pytest
import simulate
import stored
from arm_frames import ROWS, arm, evaluation, together
from fewshot import storage
from fewshot.analysis import metrics, predictions, stats
from fewshot.analysis.comparisons import compare
from fewshot.analysis.label_probabilities import (
    batch_labels,
    contextual_words,
    label_weights,
    log_odds,
)
from fewshot.analysis.pairs import SAME_MODEL
from fewshot.analysis.predictions import pack, score_rows
from fewshot.data import evaluation_sets
from fewshot.data.evaluation_sets import EvaluationSet
from scipy import stats as reference
from sklearn.metrics import roc_auc_score

IDS = np.arange(3)
CATALOG = {**simulate.CATALOG, "patterns": {"minimal": {"title": "Minimal"}}}


def test_batch_calibration_divides_by_the_mean_over_the_rows():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
    # Means .767 and .233; quotients 1.17 and .43, 1.04 and .86, .78 and 1.71.
    assert batch_labels(shares, IDS).tolist() == [0, 0, 1]
    alike = np.array([[0.7, 0.3]] * 40)
    found = batch_labels(alike, np.arange(40))
    assert set(found.tolist()) == {0, 1}, "exact ties are not all of the first label"
    assert batch_labels(np.array([[1.0, 0.0], [1.0, 0.0]]), IDS[:2]).tolist() == [0, 0]


@pytest.mark.parametrize("labels", [2, 3])
def test_contextual_calibration_is_that_of_the_published_code(labels):
    """run_classification.py: W = inv(identity * p_cf), b = 0, of probabilities that sum to one."""
    rng = np.random.default_rng(labels)
    logprobs = np.log(rng.dirichlet(np.ones(labels), 50)) - 2
    content_free = np.log(rng.dirichlet(np.ones(labels), 3)) - 4
    p_cf = np.mean([np.exp(each) / np.exp(each).sum() for each in content_free], axis=0)
    expected = []
    for row in logprobs:
        p = np.exp(row) / np.exp(row).sum()
        expected.append(int(np.argmax(np.linalg.inv(np.identity(labels) * p_cf) @ p[:, None])))
    found = contextual_words(list(logprobs.T), content_free, np.arange(50))
    assert found.tolist() == expected
    assert found.tolist() != logprobs.argmax(axis=1).tolist()


@pytest.mark.parametrize("labels", [2, 3])
def test_areas_are_those_of_scikit_learn(labels):
    rng = np.random.default_rng(labels)
    gold = rng.integers(0, labels, 400)
    shares = rng.dirichlet(np.ones(labels), 400)
    shares[np.arange(400), gold] += 0.1
    shares /= shares.sum(axis=1, keepdims=True)
    found = stats.roc_area(log_odds(shares), gold)
    scores = shares[:, 1] if labels == 2 else shares
    assert found.area == pytest.approx(roc_auc_score(gold, scores, multi_class="ovr"))


def test_ties_count_half_in_an_area():
    gold, scores = np.array([0, 0, 1, 1]), np.array([1.0, 2.0, 2.0, 3.0])
    found = stats.roc_area(np.stack([-scores, scores], axis=1), gold)
    assert found.area == (1 + 0.5 + 1 + 1) / 4 == roc_auc_score(gold, scores)


def test_the_error_of_an_area_is_delongs():
    rng = np.random.default_rng(0)
    gold = np.repeat([0, 1], [30, 50])
    scores = rng.normal(size=80).round(1) + gold
    x, y = scores[gold == 1], scores[gold == 0]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    variance = wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)
    found = stats.roc_area(np.stack([-scores, scores], axis=1), gold)
    assert (found.area, found.error) == pytest.approx((wins.mean(), np.sqrt(variance)))


def test_the_error_of_an_area_over_clusters_is_obuchowskis():
    """Obuchowski (1997): S10 and S01 of clusters' sums, and S11 where both labels share some."""
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 15, 90)
    gold = np.where(clusters < 5, 0, np.where(clusters < 10, 1, rng.integers(0, 2, 90)))
    scores = (rng.normal(size=90) + rng.normal(size=15)[clusters] + gold).round(1)
    x, y = scores[gold == 1], scores[gold == 0]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    at = [clusters[gold == label] for label in (1, 0)]
    sums = np.array(
        [
            [(part[where == c] - wins.mean()).sum() for c in range(15)]
            for part, where in zip((wins.mean(axis=1), wins.mean(axis=0)), at, strict=True)
        ]
    )
    counts = [len(set(where)) for where in at]
    sums *= [[np.sqrt(c / (c - 1)) / len(z)] for c, z in zip(counts, (x, y), strict=True)]
    variance = (sums**2).sum() + 2 * (sums[0] * sums[1]).sum()
    found = stats.roc_area(np.stack([-scores, scores], axis=1), gold, clusters)
    assert (found.area, found.error) == pytest.approx((wins.mean(), np.sqrt(variance)))
    alone = stats.roc_area(np.stack([-scores, scores], axis=1), gold)
    assert found.error > 1.3 * alone.error
    one = stats.roc_area(np.stack([-scores, scores], axis=1), gold, gold)
    assert np.isnan(one.error), "a label in one cluster does not tell how clusters vary"


def test_the_error_of_a_mean_of_areas_is_that_of_resampled_rows():
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 3, 300)
    scores = rng.normal(size=(300, 3)) + np.eye(3)[gold]
    drawn = (rng.integers(0, 300, 300) for _ in range(400))
    areas = [stats.roc_area(scores[rows], gold[rows]).area for rows in drawn]
    assert stats.roc_area(scores, gold).error == pytest.approx(np.std(areas), rel=0.15)


def test_areas_of_one_label_and_of_labels_without_rows():
    scores = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [0.5, 0.5, 0.0]])
    assert np.isnan(stats.roc_area(scores, np.zeros(3, dtype=int)).area)
    # No row has label 2; the single row of label 1 is above one of two others, and label 0's
    # rows (0.0, 0.5) are both below the other's 1.0.
    found = stats.roc_area(scores, np.array([0, 1, 0]))
    assert found.area == pytest.approx((0 + 0) / 2) and np.isnan(found.error)


def test_no_bias_towards_a_label_changes_calibrated_predictions_or_areas():
    """A constant added to one word's log-probability is what calibrations take out: contextual with
    one input exactly, batch as far as means of probabilities follow it."""
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 2, 200)
    rows = pd.DataFrame({"id": np.arange(200), "label": gold, "group": None, "subset": None})
    item = EvaluationSet("set", (0, 1), rows)
    fair = np.stack([-gold, gold - 1.0]) + rng.normal(size=(2, 200))
    empty = rng.normal(size=2)
    found = []
    for bias in (0.0, 3.0):
        moved = [fair[0] + bias, fair[1]]
        block = {"id": rows["id"].to_numpy(), "label": gold, "ranks": moved}
        scored = score_rows(block, item, "")
        after = predictions.calibrated(scored, {"": empty + np.array([bias, 0])})
        found.append((scored.correct.mean(), predictions.row_scores(scored)["roc_area"], after))
    (raw, area, after), (biased, same, moved) = found
    assert biased < raw - 0.1 and same == pytest.approx(area)
    assert np.array_equal(after["contextual"], moved["contextual"])
    assert np.array_equal(after["contextual"], after["pmi"]), "of one input, an empty one"
    assert np.mean(moved["batch"]) > biased + 0.1


def test_merged_words_count_as_their_set_has_them():
    ranks = [np.log([0.2, 0.5]), np.log([0.3, 0.1]), np.log([0.1, 0.2])]
    rows = pd.DataFrame({"id": [0, 1], "label": [1, 0], "group": None, "subset": None})
    item = EvaluationSet("hans", (0, 1, 1), rows)
    scored = score_rows({"id": rows["id"], "label": rows["label"], "ranks": ranks}, item, "")
    np.testing.assert_allclose(scored.shares, [[1 / 3, 2 / 3], [0.625, 0.375]])
    after = predictions.calibrated(scored, {"N/A": np.log([0.4, 0.2, 0.4])})
    # .333 / .479 and .667 / .521; words: .5, 1.5, .25 and 1.25, .5, .5.
    assert after["batch"].tolist() == [True, True]
    assert after["contextual"].tolist() == [True, True]
    weights = label_weights(ranks, (0, 1, 1), 2)
    np.testing.assert_allclose(log_odds(weights)[:, 0], np.log([0.5, 0.625 / 0.375]))
    assert set(after) == {"batch", "contextual"}
    assert set(predictions.calibrated(scored, {})) == {"batch"}


def test_sure_models_keep_the_order_of_their_rows():
    """As probabilities, rows of which a model is very sure would all be 1."""
    ranks = [np.array([-60.0, -80.0, -70.0]), np.zeros(3)]
    odds = log_odds(label_weights(ranks, (0, 1), 2))
    assert odds[:, 1].tolist() == [60.0, 80.0, 70.0]


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Return a pair with one run in context and one fine-tuned, written to disk."""
    monkeypatch.chdir(tmp_path)
    return simulate.write_pair(tmp_path)


def test_metrics_have_calibrated_accuracies_of_every_part_of_a_kept_epoch(pair):
    job = next(job for job in pair["jobs"] if job["method"] == "icl")
    manifest = storage.read_json(f"{job['folder']}/manifest.json")
    inputs = {"": np.log([0.6, 0.4]).tolist(), "N/A": np.log([0.8, 0.2]).tolist()}
    manifest["seeds"]["1"]["content_free"] = {"0": inputs}
    stored.seal_run(storage.Path(job["folder"]), manifest)
    sets = [
        evaluation_sets.read_set(
            item["set"], item["merge"], f"results/data/{item['set']}/validation.parquet"
        )
        for item in pair["evaluation"]
    ]
    cell = {name: pair[name] for name in ("protocol", "task", "model")}
    found = metrics.compute_metrics(cell, pair["jobs"], sets)
    frame = found.metrics
    assert frame.loc[frame["selection"] == "last", "accuracy_batch"].notna().all()
    assert frame.loc[frame["evaluation_set"] == "train", "accuracy_batch"].isna().all()
    mine = frame[(frame["method"] == "icl") & (frame["selection"] == "last")]
    known = mine.groupby("seed")["accuracy_contextual"].count()
    assert known.loc[0] == 0 and known.loc[1] == (mine["seed"] == 1).sum()
    # By hand, from the stored predictions of the set with parts.
    rows = storage.read_table(f"{job['folder']}/predictions.parquet")
    name = sets[1].name
    rows = rows[(rows["seed"] == 1) & (rows["evaluation_set"] == name)].sort_values("id")
    p = np.exp(rows[["logprob_0", "logprob_1"]].to_numpy(dtype=float))
    p /= p.sum(axis=1, keepdims=True)
    gold = rows["label"].to_numpy()
    for column, expected in (
        ("accuracy_batch", (p / p.mean(axis=0)).argmax(axis=1)),
        ("accuracy_contextual", (p / [0.7, 0.3]).argmax(axis=1)),
        ("accuracy_pmi", (p / [0.6, 0.4]).argmax(axis=1)),
    ):
        of_set = mine[(mine["evaluation_set"] == name) & (mine["seed"] == 1)]
        whole = of_set[of_set["label"].isna() & of_set["group"].isna()]
        assert whole[column].item() == pytest.approx((expected == gold).mean())
        part = of_set[of_set["subset"].notna() & of_set["label"].notna()].iloc[3]
        here = (sets[1].rows.sort_values("id")["subset"] == part["subset"]).to_numpy()
        here = here & (gold == part["label"])
        assert part[column] == pytest.approx((expected == gold)[here].mean())
    area = mine[(mine["evaluation_set"] == name) & (mine["seed"] == 1)]["roc_area"].dropna()
    assert area.item() == pytest.approx(roc_auc_score(gold, p[:, 1]))
    outcome = found.outcomes.query(f"method == 'icl' and evaluation_set == '{name}'")
    bits = outcome.set_index("seed")
    assert bits.loc[0, "correct_contextual"] is None
    right = predictions.unpack([bits.loc[1, "correct_contextual"]], len(gold))[0]
    assert right.mean() == pytest.approx(((p / [0.7, 0.3]).argmax(axis=1) == gold).mean())


def with_scores(frames, shift):
    """Return metrics and outcomes whose calibrated answers are the plain ones, rolled by `shift`,
    and whose areas are the accuracies and 0.1."""
    cell, outcomes = (frame.copy() for frame in frames)
    outcomes["correct_batch"] = [
        pack(np.roll(predictions.unpack([bits], ROWS)[0], shift)) for bits in outcomes["correct"]
    ]
    cell["accuracy_batch"] = cell["accuracy"]
    cell["roc_area"] = cell["accuracy"] + 0.1 * (shift > 0)
    return cell, outcomes


def test_calibrated_answers_and_areas_are_compared_within_a_model():
    arms = [
        with_scores(arm(model, method, p), shift=int(method == "ft"))
        for model in ("opt-s", "opt-m")
        for method, p in (("icl", 0.5), ("ft", 0.7))
    ]
    found = compare(*together(*arms), [evaluation()], CATALOG)
    by_score = {score: part for score, part in found.groupby("score", observed=True)}
    assert set(by_score) == {"accuracy", "accuracy_batch", "roc_area"}, "contextual is not known"
    assert set(by_score["accuracy"]["family"]) > {SAME_MODEL}
    for score in ("accuracy_batch", "roc_area"):
        part = by_score[score]
        assert set(part["family"]) == {SAME_MODEL} and len(part) == 2
        assert part["status"].eq("ok").all() and part["family_size"].eq(2).all()
    plain = by_score["accuracy"].query(f"family == '{SAME_MODEL}'").set_index("model")
    batch = by_score["accuracy_batch"].set_index("model")
    pd.testing.assert_series_equal(plain["difference"], batch["difference"])
    assert (plain["low"] != batch["low"]).all(), "answers of its own are resampled"
    area = by_score["roc_area"].set_index("model").loc["opt-s"]
    ours, theirs = (arms[at][0]["roc_area"].to_numpy() for at in (1, 0))
    assert area["difference"] == pytest.approx((ours - theirs).mean())
    assert area["p_paired"] == pytest.approx(reference.ttest_rel(ours, theirs).pvalue)
    assert np.isnan(area["low"]) and np.isnan(area["p_bootstrap"])
