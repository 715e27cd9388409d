"""Baselines from their input files to their outputs, beside scikit-learn and transformers."""

import logging
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import fit_baseline
import numpy as np
import pytest
import torch
from fewshot import storage
from fewshot.adaptation import baselines
from fewshot.analysis import flops, metrics, run_costs
from fewshot.data.evaluation_sets import read_set
from fewshot.errors import UserError
from fewshot.methods import hidden_state, label_counts, tfidf
from fewshot.models.architectures import architecture_of
from fewshot.scoring import states as states_module
from fewshot.study.families import trainable, training_passes
from job_files import PATTERN, run_script, some_rows, write_job
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import ALL_KINDS, tiny_model, tiny_tokenizer

TEXTS = replace(PATTERN, name="none", parts=(("", "text_a"), ("\n", "text_b")), words=("a", "b"))
NO_MODEL = {"dtype": "float32", "parameters": 0, "window": 0}
C = {"inverse_penalty": 0.5}
HIDDEN = {"family": "hidden_state", "head": "classification", "classifier": "linear", **C}
WORDS = {"family": "tfidf", "head": "none", **C}
SIZES = {"task": 24, "other": 11}


def job(folder, k=8, seeds=(0, 1), kind="opt", **method):
    """Return the job of a baseline, without a model if it reads none."""
    smk = write_job(folder, kind, k=k, seeds=seeds)
    smk.params.method = method
    if method["head"] == "none":
        smk.input.model, smk.params.model, smk.params.pattern = [], NO_MODEL, asdict(TEXTS)
        smk.wildcards.model = smk.wildcards.pattern = "none"
    return smk


run = partial(run_script, fit_baseline)


def shots_of(smk, seed):
    draw = storage.read_table(smk.input.shots[seed])
    return some_rows(60, "train").set_index("id").loc[draw["id"]].reset_index()


def logprobs(predictions, seed, name):
    chosen = predictions.query(f"seed == {seed} and evaluation_set == '{name}'")
    return chosen[["logprob_0", "logprob_1"]].to_numpy(dtype=np.float64)


def states(kind, rows) -> np.ndarray:
    """Return the last hidden state of whole prompts, one at a time, by transformers itself."""
    tokenizer, model = tiny_tokenizer(kind), tiny_model(kind)
    found = []
    for row in rows.itertuples():
        ids = tokenizer(f"{row.text_a} {row.text_b} ?", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found.append(model(ids, output_hidden_states=True).hidden_states[-1][0, -1].numpy())
    return np.array(found, dtype=np.float64)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_probabilities_are_those_of_sklearn_on_states_of_transformers(tmp_path, kind):
    smk = job(tmp_path / "in", kind=kind, **HIDDEN)
    predictions, manifest = run(smk)
    assert len(predictions) == 2 * 35 and set(predictions["epoch"]) == {0}
    for seed in (0, 1):
        shots = shots_of(smk, seed)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
        probe.fit(states(kind, shots), shots["label"])
        for name, size in SIZES.items():
            expected = probe.predict_proba(states(kind, some_rows(size, name)))
            found = np.exp(logprobs(predictions, seed, name))
            np.testing.assert_allclose(found, expected, atol=1e-4)
        assert manifest["seeds"][str(seed)]["steps"] == probe[-1].n_iter_[0]
    assert manifest["parameters"]["trainable"] == 33, "32 weights and a bias"
    assert set(predictions["logsumexp"]) == {0} and predictions["argmax_is_label"].all()


def test_probabilities_are_those_of_sklearn_on_tfidf(tmp_path):
    smk = job(tmp_path / "in", **WORDS)
    predictions, manifest = run(smk)
    for seed in (0, 1):
        shots = shots_of(smk, seed)
        words = make_pipeline(TfidfVectorizer(), LogisticRegression(C=0.5, max_iter=1000))
        words.fit([f"{row.text_a}\n{row.text_b}" for row in shots.itertuples()], shots["label"])
        for name, size in SIZES.items():
            texts = [f"{row.text_a}\n{row.text_b}" for row in some_rows(size, name).itertuples()]
            found = np.exp(logprobs(predictions, seed, name))
            np.testing.assert_allclose(found, words.predict_proba(texts), atol=1e-6)
    assert manifest["model"] == manifest["pattern"] == "none"
    assert manifest["checksums"]["shots"].keys() == {"0", "1"}


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ([0, 0, 0, 1, 2], "shares", [3 / 5, 1 / 5, 1 / 5]),
        ([0, 0, 0, 1, 2], "majority", [1, 0, 0]),
        ([1, 1, 2, 2], "shares", [0, 1 / 2, 1 / 2]),
        ([1, 1, 2, 2], "majority", [0, 1 / 2, 1 / 2]),
        ([], "shares", [1 / 3] * 3),
        ([], "majority", [1 / 3] * 3),
    ],
)
def test_labels_are_counted_among_the_shots(gold, answer, expected):
    """Ties, as in every balanced draw and without shots, leave all tied labels alike."""
    fitted = label_counts.fit([], np.array(gold, dtype=int), 3, {"answer": answer})
    np.testing.assert_allclose(np.exp(fitted.answer(["a", "b"])), [expected] * 2)


def test_without_shots_all_labels_are_alike(tmp_path):
    smk = job(tmp_path / "in", k=0, seeds=(0,), family="label_counts", head="none", answer="shares")
    predictions, manifest = run(smk)
    assert len(predictions) == 35
    np.testing.assert_allclose(np.exp(predictions["logprob_0"]), 0.5, atol=1e-7)
    assert manifest["checksums"]["data"].keys() == {"task/validation", "other/validation"}
    told = manifest["seeds"]["0"]["scoring"]
    assert {name: facts["exact_ties"] for name, facts in told.items()} == SIZES, "all rows tie"


@pytest.mark.parametrize("method", [HIDDEN, WORDS])
def test_a_seed_has_the_same_bytes_whatever_job_it_is_in(tmp_path, method):
    smk = job(tmp_path / "in", seeds=(0, 1, 2), **method)
    whole, _ = run(smk)
    parts = []
    for number, seeds in enumerate([(0,), (1, 2)]):
        smk = job(tmp_path / f"part{number}", seeds=seeds, **method)
        parts.append(run(smk)[0])
    for part in parts:
        same = whole[whole["seed"].isin(part["seed"].unique())].reset_index(drop=True)
        for name in ("logprob_0", "logprob_1"):
            assert part[name].to_numpy().tobytes() == same[name].to_numpy().tobytes()
    assert sum(map(len, parts)) == len(whole)


def test_a_finished_seed_is_not_fitted_again(tmp_path, monkeypatch, caplog):
    smk = job(tmp_path / "in", **HIDDEN)
    expected = run(smk)[0]
    shutil.rmtree(Path(smk.output.manifest).parent)
    scores_of, calls = baselines.scores_of, []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 5:  # two sets and inputs without content are answered for each seed
            raise KeyboardInterrupt
        return scores_of(*given)

    monkeypatch.setattr(baselines, "scores_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(smk)
    caplog.set_level(logging.INFO)
    again = run(smk)[0]
    assert "1 of 2 seeds to do" in caplog.text
    assert again.equals(expected) and not list(Path("results/state").glob("*/seed*"))


@pytest.mark.parametrize("module", [hidden_state, tfidf])
def test_a_label_without_shots_is_impossible(module):
    """Draws of mosbach2023 need not have every label."""
    rng = np.random.default_rng(0)
    shots = rng.normal(size=(4, 3)).astype(np.float32)
    rows = shots if module is hidden_state else ["old man", "young man", "old dog", "cat"]
    two = module.fit(rows, np.array([0, 2, 0, 2]), 3, C).answer(rows)
    assert np.isneginf(two[:, 1]).all()
    np.testing.assert_allclose(np.exp(two).sum(axis=1), 1)
    one = module.fit(rows, np.array([2, 2, 2, 2]), 3, C)
    assert one.answer(rows).tolist() == [[-np.inf, -np.inf, 0.0]] * 4 and one.parameters == 0


def test_three_labels_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    shots, gold = rng.normal(size=(9, 5)).astype(np.float32), np.arange(9) % 3
    rows = rng.normal(size=(7, 5)).astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
    expected = model.fit(shots.astype(float), gold).predict_log_proba(rows.astype(float))
    fitted = hidden_state.fit(shots, gold, 3, C)
    np.testing.assert_allclose(fitted.answer(rows), expected, atol=1e-9)
    assert fitted.parameters == 3 * 6 and fitted.kept == 3 * 6 + 2 * 5


def test_states_that_are_no_numbers_end_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr(
        states_module._LastStates, "enter", lambda self, made, layout: self.values.fill(np.inf)
    )
    with pytest.raises(
        UserError, match=r"/ft/.*: row with id 100: its hidden state is not finite \(24 "
    ):
        run(job(tmp_path / "in", **HIDDEN))


def test_shots_without_words_are_one_line():
    with pytest.raises(UserError, match="TF-IDF: the 2 shots have no word of two letters or more"):
        tfidf.fit(["a", "?"], np.array([0, 1]), 2, C)


def test_metrics_and_costs_read_what_a_baseline_stores(tmp_path):
    """A prediction costs a bare query through the layers, and fitting the shots read once."""
    smk = job(tmp_path / "in", **HIDDEN)
    predictions, manifest = run(smk)
    shape = architecture_of(tiny_model("opt").config.to_dict(), 128)
    task = {"method": "ft", "pattern": "minimal", "k": 8, "seeds": [0, 1]}
    task |= {"folder": str(Path(smk.output.manifest).parent)}
    task |= {"passes": training_passes(shape, HIDDEN)}
    cell = {"protocol": "fair", "task": "task", "model": "tiny"}
    names = zip(SIZES, smk.input.evaluation, strict=True)
    sets = [read_set(name, (0, 1), path) for name, path in names]
    found = metrics.compute_metrics(cell, [task], sets).metrics
    own = predictions.query("evaluation_set == 'task'")
    right = (own["logprob_1"] > own["logprob_0"]) == (own["label"] == 1)
    chosen = found.query("evaluation_set == 'task' and n == 24 and selection == 'last'")
    assert chosen["accuracy_contextual"].notna().all() and chosen["roc_area"].notna().all()
    assert chosen["accuracy"].mean() == pytest.approx(right.mean())
    size = flops.model_size(shape)
    costs = run_costs.compute_costs(cell, [task], run_costs.FlopsModel(size, 2))
    assert trainable(shape, HIDDEN, 2) == manifest["parameters"]["trainable"]
    tokenizer = tiny_tokenizer("opt")

    def lengths(rows):
        texts = [f"{row.text_a} {row.text_b} ?" for row in rows.itertuples()]
        return np.array([len(tokenizer(text)["input_ids"]) for text in texts])

    for seed, row in enumerate(costs.to_dict("records")):
        own = lengths(shots_of(smk, seed))
        encoded = flops.forward(size, own.sum(), (own**2).sum())
        # Twice 2 · width · labels for each shot: logits, and the gradient of the weights.
        assert row["flops_train"] == pytest.approx(encoded + 2 * 8 * 2 * 32 * 2)
        assert row["train_tokens"] == own.sum() and row["scored_rows"] == 35
        assert row["seconds_score"] > 0 and row["disk_bytes"] == 8 * (33 + 64)


@pytest.mark.slow
def test_only_a_model_needs_torch():
    """Its import would take longer than all that such a job does."""
    code = (
        "import sys; from fewshot.adaptation import baselines, job, seeds; "
        "from fewshot.methods import label_counts, tfidf; "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    folder = Path(fit_baseline.__file__).parent
    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
