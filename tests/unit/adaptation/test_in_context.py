"""The in-context job from its input files to its outputs."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import run_in_context
import torch
from fewshot.adaptation import frozen_model
from fewshot.analysis import metrics
from fewshot.data.evaluation_sets import read_set
from job_files import PATTERN, drawn, run_script, solved, some_rows, write_job
from tiny import KINDS, tiny_model, tiny_tokenizer

run = partial(run_script, run_in_context)


def context_of(smk, seed: int) -> str:
    """Return the demonstrations of a seed, written out."""
    return "".join(map(solved, drawn(smk, seed)))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_whole_prompts(tmp_path, kind):
    smk = write_job(tmp_path / "in", kind, k=4, family="in_context")
    predictions, manifest = run(smk)
    assert len(predictions) == 2 * (24 + 11) and set(predictions["epoch"]) == {0}
    for facts in manifest["seeds"]["0"]["scoring"].values():
        assert facts["route"] == "shared prefix"
        assert facts["splits"] == facts["ties"] == 0
    tokenizer, model = tiny_tokenizer(kind), tiny_model(kind)
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    for seed in (0, 1):
        context = context_of(smk, seed)
        for name, size in (("task", 24), ("other", 11)):
            of_set = predictions.query(f"seed == {seed} and evaluation_set == '{name}'")
            pairs = zip(some_rows(size, name).itertuples(), of_set.itertuples(), strict=True)
            for row, found in pairs:
                ids = tokenizer(f"{context}{row.text_a} {row.text_b} ?", return_tensors="pt")
                with torch.no_grad():
                    expected = torch.log_softmax(model(ids["input_ids"]).logits[0, -1], -1)[words]
                assert found.id == row.id and found.label == row.label
                np.testing.assert_allclose(
                    [found.logprob_0, found.logprob_1], expected.numpy(), atol=1e-5
                )


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_without_content_are_scored_behind_the_same_demonstrations(tmp_path, kind):
    smk = write_job(tmp_path / "in", kind, k=4, family="in_context")
    _, manifest = run(smk)
    tokenizer, model = tiny_tokenizer(kind), tiny_model(kind)
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    for seed in (0, 1):
        expected = {}
        for text in ("N/A", "", "[MASK]"):
            ids = tokenizer(f"{context_of(smk, seed)}{text} {text} ?", return_tensors="pt")
            with torch.no_grad():
                logits = model(ids["input_ids"]).logits[0, -1]
            expected[text] = torch.log_softmax(logits, -1)[words].numpy()
        found = manifest["seeds"][str(seed)]["content_free"]
        assert list(found) == ["0"] and found["0"].keys() == expected.keys()
        for text, ranks in expected.items():
            np.testing.assert_allclose(found["0"][text], ranks, atol=1e-5)


def test_an_input_without_content_needs_a_prompt():
    """Nothing would stand in front of the label word."""
    assert PATTERN.content_free() == ["N/A", "", "[MASK]"]
    bare = replace(PATTERN, parts=(("", "text_a"),), cue="")
    assert bare.content_free() == ["N/A", "[MASK]"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_counts_what_whole_prompts_would_have_cost(tmp_path, kind):
    smk = write_job(tmp_path / "in", kind, k=4, seeds=(0,), family="in_context")
    _, manifest = run(smk)
    tokenizer, context = tiny_tokenizer(kind), context_of(smk, 0)
    entry = manifest["seeds"]["0"]
    assert entry["kept_bytes"] == len(context.encode())
    for name, size in (("task", 24), ("other", 11)):
        texts = [f"{context}{r.text_a} {r.text_b} ?" for r in some_rows(size, name).itertuples()]
        lengths = np.array([len(tokenizer(text)["input_ids"]) for text in texts])
        found = entry["scoring"][name]
        own = lengths - found["shared_tokens"]
        assert found["rows"] == size and found["longest_tokens"] == lengths.max()
        assert found["own_tokens"] == own.sum() and found["own_squares"] == (own**2).sum()
        assert found["tokens_read"] <= found["shared_tokens"] + found["own_tokens"]


def test_no_shots_means_bare_queries(tmp_path):
    smk = write_job(tmp_path / "in", k=0, seeds=(0,), family="in_context")
    predictions, manifest = run(smk)
    assert len(predictions) == 35
    assert manifest["seeds"]["0"]["scoring"]["task"]["shared_tokens"] == 1
    assert manifest["parameters"]["trainable"] == 0


def test_no_model_is_loaded_where_nothing_fits(tmp_path, monkeypatch):
    smk = write_job(tmp_path / "in", k=4, unfit=(0, 1), family="in_context")
    monkeypatch.setattr(frozen_model, "load_model", lambda *a: pytest.fail("loaded"))
    predictions, _ = run(smk)
    assert len(predictions) == 0


@pytest.mark.slow
def test_what_only_training_needs_is_not_imported():
    code = (
        "import sys; import fewshot.adaptation.in_context; "
        "print([name for name in ('deepspeed', 'peft', 'datasets') if name in sys.modules])"
    )
    scripts = Path(run_in_context.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("rank_by", ["sum", "mean", "characters"])
def test_words_of_several_tokens_are_ranked_alike_by_job_and_metrics(tmp_path, rank_by):
    """Metrics recount the row predictions and would refuse curves that were ranked otherwise."""
    smk = write_job(tmp_path / "in", k=4, seeds=(0,), family="in_context")
    smk.params.pattern |= {"words": [" Yes", " not all believed"], "rank_by": rank_by}
    predictions, _ = run(smk)
    assert set(predictions["tokens_0"]) == {1} and set(predictions["tokens_1"]) == {3}
    job = {"method": "ft", "pattern": "minimal", "k": 4, "seeds": [0]}
    job["folder"] = str(Path(smk.output.predictions).parent)
    cell = {"protocol": "fair", "task": "task", "model": "tiny"}
    names = zip(("task", "other"), smk.input.evaluation, strict=True)
    sets = [read_set(name, (0, 1), path) for name, path in names]
    found = metrics.compute_metrics(cell, [job], sets).metrics.query(
        "evaluation_set == 'task' and n == 24"
    )
    own = predictions.query("evaluation_set == 'task'")
    first, second = own["logprob_0"].astype(float), own["logprob_1"].astype(float)
    guesses = {"sum": second > first, "mean": second / 3 > first}
    guesses["characters"] = second / len("not all believed") > first / len("Yes")
    assert set(found["accuracy"]) == {(guesses[rank_by] == own["label"]).mean()}
    others = [guesses[name] for name in guesses if name != rank_by]
    assert all((guesses[rank_by] != other).any() for other in others), "could be confused unnoticed"
