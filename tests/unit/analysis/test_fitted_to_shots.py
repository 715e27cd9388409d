"""Calibrations fitted to held-out shots, beside scipy and scikit-learn called directly."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import simulate
import stored
from fewshot import storage
from fewshot.analysis import metrics, predictions
from fewshot.analysis.label_probabilities import fit_to_shots
from fewshot.data import evaluation_sets
from fewshot.errors import UserError
from scipy.optimize import brentq, minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression


def shots(words, rows=40, seed=0, bias=0.0):
    """Return log-probabilities, label 0's with a bias, of labels that they tell of."""
    draw = np.random.default_rng(seed)
    labels = np.arange(rows) % words
    ranks = draw.normal(size=(rows, words)) * 2 + 1.5 * np.eye(words)[labels] - 5
    return ranks + bias * np.eye(words)[0], labels


def test_two_shots_by_hand():
    """Odds of word 1 are exp(-3) and exp(-1); with b they are shared evenly at b = 2, where the
    shares of word 1 are 1 / (1 + e) and e / (1 + e)."""
    ranks, labels = np.array([[-1.0, -4.0], [-2.0, -3.0]]), np.array([0, 1])
    fitted = fit_to_shots(ranks, labels)["bias"]
    np.testing.assert_allclose(fitted.bias, [0.0, 2.0], atol=1e-8)
    assert fitted.words(list(ranks.T), np.arange(2)).tolist() == [0, 1]
    # 1.9 and 2.1 apart: below and above the bias.
    assert fitted.words([np.array([0.0, 0.0]), np.array([-1.9, -2.1])], np.arange(2)).tolist() == [
        1, 0,
    ]  # fmt: skip


def test_the_bias_of_two_words_balances_what_is_expected_of_the_shots():
    ranks, labels = shots(2, bias=4.0)
    found = fit_to_shots(ranks, labels)["bias"].bias

    def surplus(b):
        return softmax(ranks + np.array([0, b]), axis=1)[:, 1].sum() - labels.sum()

    np.testing.assert_allclose(found, [0, brentq(surplus, -50, 50, xtol=1e-12)], atol=1e-6)


@pytest.mark.parametrize("words", [3, 4])
def test_the_bias_of_several_words_is_the_likeliest(words):
    ranks, labels = shots(words, bias=-3.0)
    found = fit_to_shots(ranks, labels)["bias"].bias

    def loss(b):
        chosen = log_softmax(ranks + np.append(0, b), axis=1)
        return -chosen[np.arange(len(labels)), labels].sum()

    start = np.zeros(words - 1)
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 9999, "maxfev": 9999}
    expected = minimize(loss, start, method="Nelder-Mead", options=options)
    np.testing.assert_allclose(found, np.append(0, expected.x), atol=1e-5)


def test_a_bias_far_from_zero_is_found():
    """Models prefer a word by tens; at 0 the slope is then flat."""
    ranks, labels = shots(2, bias=60.0)
    near = fit_to_shots(*shots(2))["bias"].bias
    np.testing.assert_allclose(
        fit_to_shots(ranks, labels)["bias"].bias, near + np.array([0, 60]), atol=1e-5
    )


@pytest.mark.parametrize("words", [2, 3])
def test_the_affine_map_is_logistic_regression_on_centred_log_probabilities(words):
    ranks, labels = shots(words, bias=4.0)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    expected = LogisticRegression(C=1.0, max_iter=1000).fit(centred, labels)
    rows, _ = shots(words, rows=60, seed=1, bias=4.0)
    found = fit_to_shots(ranks, labels)["affine"].words(list(rows.T), np.arange(60))
    shown = expected.predict(rows - rows.mean(axis=1, keepdims=True))
    assert found.tolist() == shown.tolist() and len(set(shown)) == words
    moved = fit_to_shots(ranks + 7, labels)["affine"].words(list(rows.T), np.arange(60))
    assert moved.tolist() == found.tolist(), "what all words gain says nothing"


def test_without_a_shot_of_each_word_nothing_is_fitted():
    ranks, labels = shots(3)
    assert fit_to_shots(ranks[labels < 2], labels[labels < 2]) == {}
    assert fit_to_shots(np.where(ranks > ranks.max() - 1e-9, -np.inf, ranks), labels) == {}


def hold_out(job, pair, frames):
    """Write held-out scores of some seeds of a job, by epoch, and say so in the job."""
    run = storage.Path(job["folder"].replace("results/runs", "results/held-out"))
    cell = stored.cell_of(pair, job)
    rows = []
    for (seed, epoch), (ranks, labels) in frames.items():
        rows.append(
            pd.DataFrame(
                {
                    "seed": seed, "epoch": epoch, "evaluation_set": "held out",
                    "id": np.arange(len(labels)), "label": labels.astype(np.int16),
                    "logprob_0": ranks[:, 0].astype(np.float32),
                    "logprob_1": ranks[:, 1].astype(np.float32),
                    "tokens_0": 1, "tokens_1": 1, "logsumexp": 0.0, "argmax_is_label": True,
                    **stored.told(ranks.argmax(axis=1) == labels, labels, epoch, epoch, epoch),
                }
            )
        )  # fmt: skip
    stored.write_results(run, cell, [], rows, {**cell, "seeds": {}})
    job["held_out"] = str(run)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return simulate.write_pair(tmp_path)


def results(pair, **more):
    read = partial(evaluation_sets.read_set)
    sets = [
        read(item["set"], item["merge"], f"results/data/{item['set']}/validation.parquet")
        for item in pair["evaluation"]
    ]
    cell = {name: pair[name] for name in ("protocol", "task", "model")}
    return sets, metrics.compute_metrics(cell, pair["jobs"], sets, **more)


def test_metrics_have_accuracies_fitted_to_the_last_epoch_of_held_out_shots(pair):
    job = next(job for job in pair["jobs"] if job["method"] == "icl")
    ranks, labels = shots(2, rows=16, bias=1.0)
    hold_out(job, pair, {(1, 0): (-ranks, labels), (1, 3): (ranks, labels)})
    sets, found = results(pair)
    frame = found.metrics
    mine = frame[(frame["method"] == "icl") & (frame["selection"] == "last")]
    assert mine.loc[mine["seed"] != 1, ["accuracy_bias", "accuracy_affine"]].isna().all(axis=None)
    assert frame.loc[frame["method"] != "icl", "accuracy_bias"].isna().all()
    rows = storage.read_table(f"{job['folder']}/predictions.parquet")
    name = sets[1].name
    rows = rows[(rows["seed"] == 1) & (rows["evaluation_set"] == name)].sort_values("id")
    scored = rows[["logprob_0", "logprob_1"]].to_numpy(dtype=float)
    gold, ranks = rows["label"].to_numpy(), ranks.astype(np.float32).astype(float)

    def surplus(b):
        return softmax(ranks + np.array([0, b]), axis=1)[:, 1].sum() - labels.sum()

    centre = partial(np.mean, axis=1, keepdims=True)
    affine = LogisticRegression(C=1.0, max_iter=1000).fit(ranks - centre(ranks), labels)
    expected = {
        "bias": (scored + np.array([0, brentq(surplus, -50, 50)])).argmax(axis=1),
        "affine": affine.predict(scored - centre(scored)),
    }
    of_set = mine[(mine["evaluation_set"] == name) & (mine["seed"] == 1)]
    whole = of_set[of_set["label"].isna() & of_set["group"].isna()]
    bits = found.outcomes.query(f"method == 'icl' and evaluation_set == '{name}' and seed == 1")
    for column, answers in expected.items():
        right = answers == gold
        assert whole[f"accuracy_{column}"].item() == pytest.approx(right.mean())
        kept = predictions.unpack([bits[f"correct_{column}"].item()], len(gold))[0]
        assert kept.tolist() == right.tolist()
    assert whole["accuracy_bias"].item() != pytest.approx(whole["accuracy"].item())


def test_held_out_scores_that_should_be_there_are_told(pair):
    pair["jobs"][0]["held_out"] = "results/held-out/nowhere"
    with pytest.raises(UserError, match=r"nowhere/manifest\.json: file not found"):
        results(pair)
    problems = {}
    _, found = results(pair, problems=problems)
    assert problems == {
        "results/held-out/nowhere": "results/held-out/nowhere/manifest.json: file not found; the "
        "run is incomplete"
    }
    assert set(found.metrics["status"]) == {"ok"}, "the results are there"


def test_scores_of_shots_that_were_held_out_otherwise_are_told(pair):
    job = pair["jobs"][0]
    hold_out(job, pair, {(0, 0): shots(2, rows=4)})
    folder = storage.Path(job["held_out"])
    manifest = storage.read_json(folder / "manifest.json")
    stored.seal_run(folder, {**manifest, "settings": {"cross_validation": "leave-one-out"}})
    job["cross_validation"] = 4
    with pytest.raises(UserError, match="cross_validation is leave-one-out, not 4: its shots were"):
        results(pair)
    job["cross_validation"] = "leave-one-out"
    assert len(results(pair)[1].metrics)


def test_held_out_scores_of_another_draw_are_told(pair):
    job = pair["jobs"][0]
    hold_out(job, pair, {(0, 0): shots(2, rows=4)})
    for folder, digest in ((job["folder"], "a"), (job["held_out"], "b")):
        manifest = storage.read_json(f"{folder}/manifest.json")
        checksums = {"draw": "fair", "shots": {"0": digest}}
        stored.seal_run(storage.Path(folder), {**manifest, "checksums": checksums})
    with pytest.raises(UserError, match=r"held-out/.*: its shots of seed 0 are not those of"):
        results(pair)
