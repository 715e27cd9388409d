"""Ensembles: the shots in several contexts, over which probabilities are averaged."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import run_in_context
import torch
from fewshot import storage
from fewshot.adaptation.in_context import averaged
from fewshot.prompts.contexts import groups
from fewshot.scoring.scores import Scores
from job_files import PATTERN, run_script, some_rows, write_job
from tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

run = partial(run_script, run_in_context)


def contexts_of(smk, seed: int, shown: int) -> list[str]:
    """Return the contexts of a seed, written out."""
    draw = storage.read_table(smk.input.shots[seed])
    shots = list(some_rows(60, "train").set_index("id").loc[draw["id"]].itertuples())
    texts = [f"{row.text_a} {row.text_b} ?{PATTERN.words[row.label]}\n\n" for row in shots]
    return ["".join(texts[i : i + shown]) for i in range(0, len(texts), shown)]


def probabilities(kind: str, contexts: list[str], query: str) -> np.ndarray:
    """Return the mean probabilities of both label words, by transformers on whole prompts."""
    tokenizer, model = tiny_tokenizer(kind), tiny_model(kind)
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    found = []
    for context in contexts:
        with torch.no_grad():
            logits = model(**tokenizer(context + query, return_tensors="pt")).logits[0, -1]
        found.append(torch.softmax(logits.double(), -1)[words].numpy())
    return np.mean(found, axis=0)


def test_probabilities_are_the_means_over_whole_prompts(tmp_path):
    kind = "gpt_neox"
    smk = write_job(tmp_path / "in", kind, k=6, family="ensemble", shown=2)
    predictions, manifest = run(smk)
    assert len(predictions) == 2 * (24 + 11)
    for seed in (0, 1):
        contexts = contexts_of(smk, seed, 2)
        assert len(contexts) == 3
        found = predictions.query(f"seed == {seed} and evaluation_set == 'other'")
        for row, ours in zip(some_rows(11, "other").itertuples(), found.itertuples(), strict=True):
            expected = probabilities(kind, contexts, f"{row.text_a} {row.text_b} ?")
            np.testing.assert_allclose(
                np.exp([ours.logprob_0, ours.logprob_1]), expected, atol=1e-6
            )
        free = manifest["seeds"][str(seed)]["content_free"]["0"]
        for text in ("N/A", "", "[MASK]"):
            expected = probabilities(kind, contexts, f"{text} {text} ?")
            np.testing.assert_allclose(np.exp(free[text]), expected, atol=1e-6)


def test_the_manifest_counts_every_context(tmp_path):
    smk = write_job(tmp_path / "in", k=6, seeds=(0,), family="ensemble", shown=2)
    _, manifest = run(smk)
    tokenizer, contexts = tiny_tokenizer("opt"), contexts_of(smk, 0, 2)
    entry = manifest["seeds"]["0"]
    assert entry["kept_bytes"] == sum(map(len, contexts))
    found = entry["scoring"]["other"]
    assert found["rows"] == 11 and len(found["contexts"]) == 3
    for context, counts in zip(contexts, found["contexts"], strict=True):
        rows = some_rows(11, "other").itertuples()
        lengths = [len(tokenizer(f"{context}{r.text_a} {r.text_b} ?").input_ids) for r in rows]
        assert counts["longest_tokens"] == max(lengths) <= found["longest_tokens"]
        assert counts["own_tokens"] + 11 * counts["shared_tokens"] == sum(lengths)
    assert found["tokens_read"] == sum(counts["tokens_read"] for counts in found["contexts"])


def test_one_context_of_all_shots_is_in_context_learning(tmp_path):
    runs = [
        run(write_job(tmp_path / name, k=4, seeds=(0,), **settings))
        for name, settings in {
            "all": {"family": "in_context"},
            "one": {"family": "ensemble", "shown": 4},
        }.items()
    ]
    columns = ["logprob_0", "logprob_1", "logsumexp", "argmax_is_label"]
    assert runs[0][0][columns].equals(runs[1][0][columns])
    seeds = [manifest["seeds"]["0"] for _, manifest in runs]
    assert seeds[0]["scoring"] == seeds[1]["scoring"]


def test_groups_follow_the_draw_and_the_last_may_be_shorter():
    rows = some_rows(5, "any")
    assert [list(part["id"]) for part in groups(rows, 2)] == [[100, 101], [102, 103], [104]]
    assert [len(part) for part in groups(rows)] == [5]


def scores(logprobs, logsumexp, argmax, tokens=1, **other) -> Scores:
    logprobs = np.array(logprobs, dtype=np.float32)
    counts = np.full(logprobs.shape, tokens, dtype=np.int16)
    normaliser = np.array(logsumexp, dtype=np.float32)
    return Scores(logprobs, normaliser, np.array(argmax), counts, "packed", 7, **other)


def test_averages_by_hand():
    one = scores(np.log([[0.5, 0.25], [0.1, 0.3]]), [1, 2], [True, True], splits=1)
    two = scores(np.log([[0.1, 0.45], [0.3, 0.1]]), [3, 2], [True, False])
    three = scores(np.log([[0.3, 0.2], [0.2, 0.2]]), [5, 2], [False, False])
    found = averaged([one, two, three])
    np.testing.assert_allclose(np.exp(found.logprobs), [[0.3, 0.3], [0.2, 0.2]], rtol=1e-6)
    assert list(found.logsumexp) == [3, 2] and list(found.argmax_is_label) == [True, False]
    assert (found.tokens_read, found.splits, found.route) == (21, 1, "packed")
    # Half of the contexts are not most of them.
    assert list(averaged([one, two]).argmax_is_label) == [True, False]
    # Probabilities too small for a float64 have a mean all the same.
    tiny = averaged([scores([[-900.0, -1000.0]], [0], [True])] * 2)
    np.testing.assert_allclose(tiny.logprobs, [[-900, -1000]])


def test_means_over_other_tokens_are_not_averaged():
    one = scores([[-1, -2]], [0], [True], rank_by="mean")
    with pytest.raises(ValueError, match="other tokens behind another context"):
        averaged([one, replace(one, tokens=one.tokens + 1)])
