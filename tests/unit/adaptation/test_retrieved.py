"""Shots by row: what each row is shown, against whole prompts read by transformers."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import bm25s
import numpy as np
import pytest
import run_in_context
import torch
from fewshot.adaptation import in_context
from fewshot.adaptation.job import read_job
from fewshot.analysis import metrics
from fewshot.data.evaluation_sets import read_set
from job_files import drawn, give_chat, run_script, solved, some_rows, write_job
from tiny import tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

BM25 = {"family": "retrieval", "shown": 2, "similarity": "bm25", "cached": 3}
STATES = {**BM25, "similarity": "states", "cached": 0}


run = partial(run_script, run_in_context)


def query(row) -> str:
    return f"{row.text_a} {row.text_b} ?"


def by_words(pool: list, row) -> list[float]:
    texts = [f"{each.text_a} {each.text_b}" for each in pool]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords=None, show_progress=False), show_progress=False)
    return list(index.get_scores(f"{row.text_a} {row.text_b}".split()))


def by_states(kind: str):
    tokenizer, model = tiny_tokenizer(kind), tiny_model(kind)

    def state(row) -> np.ndarray:
        with torch.no_grad():
            found = model(**tokenizer(query(row), return_tensors="pt"), output_hidden_states=True)
        return found.hidden_states[-1][0, -1].double().numpy()

    def compared(pool: list, row) -> list[float]:
        ours = state(row)
        others = [state(each) for each in pool]
        return [ours @ o / np.linalg.norm(ours) / np.linalg.norm(o) for o in others]

    return compared


def expected_prompt(shots: list, row, cached: int, shown: int, compare) -> str:
    pool = shots[cached:]
    scores = compare(pool, row)
    order = sorted(range(len(pool)), key=lambda place: (-scores[place], place))[:shown]
    text = "".join(map(solved, shots[:cached]))
    return text + "".join(solved(pool[place]) for place in reversed(order)) + query(row)


@pytest.mark.parametrize(("kind", "settings"), [("opt", BM25), ("gpt_neox", STATES)])
def test_every_row_is_shown_the_shots_that_are_most_like_it(tmp_path, kind, settings):
    smk = write_job(tmp_path / "in", kind, k=8, seeds=(1,), **settings)
    predictions, manifest = run(smk)
    tokenizer, model = tiny_tokenizer(kind), tiny_model(kind)
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    compare = by_words if settings is BM25 else by_states(kind)
    shots, cached, lengths = drawn(smk, 0), settings["cached"], []
    found = predictions.query("evaluation_set == 'other'")
    for row, ours in zip(some_rows(11, "other").itertuples(), found.itertuples(), strict=True):
        prompt = expected_prompt(shots, row, cached, 2, compare)
        ids = tokenizer(prompt, return_tensors="pt")
        lengths.append(ids["input_ids"].shape[1])
        with torch.no_grad():
            expected = torch.log_softmax(model(**ids).logits[0, -1], -1)[words]
        np.testing.assert_allclose([ours.logprob_0, ours.logprob_1], expected.numpy(), atol=1e-5)
    entry = manifest["seeds"]["1"]
    assert "content_free" not in entry and "retrieve" in entry["seconds"]
    told = entry["scoring"]["other"]
    front = tokenizer("".join(map(solved, shots[:cached])))["input_ids"]
    assert len(front) <= told["shared_tokens"] < min(lengths)
    assert told["own_tokens"] + 11 * told["shared_tokens"] == sum(lengths)
    if settings is BM25:
        assert "states" not in told and "index" not in entry
    else:
        bare = [len(tokenizer(query(row)).input_ids) for row in some_rows(11, "other").itertuples()]
        of = told["states"]
        assert of["own_tokens"] + 11 * of["shared_tokens"] == sum(bare)
        assert entry["index"]["rows"] == 8
        assert entry["kept_bytes"] == sum(map(len, map(solved, shots))) + 8 * 32 * 4


def test_a_seed_does_not_depend_on_the_others(tmp_path):
    both = run(write_job(tmp_path / "both", k=8, seeds=(0, 1), **STATES))[0]
    alone = run(write_job(tmp_path / "one", k=8, seeds=(1,), **STATES))[0]
    assert both.query("seed == 1").reset_index(drop=True).equals(alone)


@pytest.mark.parametrize(("settings", "rows"), [(BM25, 4), (STATES | {"cached": 3}, 2)])
def test_fewer_rows_than_are_shown_are_all_shown(tmp_path, settings, rows):
    """As in a fold of cross-validation: 3 are cached and one is left, or none."""
    job = read_job(write_job(tmp_path / "in", k=8, seeds=(0,), **settings), uses_context=True)
    few = replace(job, shots={0: job.shots[0].head(rows)}, evaluation=job.evaluation[1:])
    plain = replace(few, settings={"family": "in_context", "head": "language-model"})
    model, found = tiny_model("opt"), []
    for each in (few, plain):
        queries = in_context.tokenized(each)
        result = in_context.run_seed(each, 0, model, queries, in_context.outputs.Phases(), False)
        found.append(result.predictions[["logprob_0", "logprob_1"]].to_numpy())
    np.testing.assert_allclose(*found, atol=1e-5)


def test_a_chats_prompts_are_whole_conversations(tmp_path):
    smk = give_chat(write_job(tmp_path / "in", k=4, seeds=(0,), **BM25 | {"cached": 1}),
                    demonstrations="turns")  # fmt: skip
    smk.params.model["window"] = 256
    job = read_job(smk, uses_context=True)
    assert job.status == {0: "ok"}
    tokenizer = job.queries.tokenizer
    shown = in_context.tokenized(job)(job, 0, None, in_context.outputs.Phases(), False)
    prompts = shown.prompts(job.evaluation[1], 0)
    start = job.pattern.context_of(job.shots[0].head(1))
    texts = [tokenizer.decode(prompts.prefix + row) for row in prompts.suffixes]
    queries = job.pattern.queries(job.evaluation[1].rows)
    for text, asked in zip(texts, queries, strict=True):
        assert text.startswith(start) and text.endswith(asked)
        assert text.count("Answer:\n") == text.count("Question:\n") == 4


def test_metrics_leave_out_calibrations_by_inputs_without_content(tmp_path):
    """Each row has a context of its own, so there is none in which such an input could stand."""
    smk = write_job(tmp_path / "in", k=8, seeds=(0,), **BM25)
    run(smk)
    job = {"method": "ft", "pattern": "minimal", "k": 8, "seeds": [0]}
    job["folder"] = str(Path(smk.output.predictions).parent)
    names = zip(("task", "other"), smk.input.evaluation, strict=True)
    sets = [read_set(name, (0, 1), path) for name, path in names]
    cell = {"protocol": "fair", "task": "task", "model": "tiny"}
    found = metrics.compute_metrics(cell, [job], sets).metrics
    assert found["accuracy_contextual"].isna().all() and found["accuracy_pmi"].isna().all()
    assert found["accuracy_batch"].notna().any()
