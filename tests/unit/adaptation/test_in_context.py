"""The in-context job from its input files to its outputs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import run_in_context
import torch
from fewshot import storage
from fewshot.adaptation import in_context
from fewshot.analysis import metrics
from fewshot.data.evaluation_sets import read_set
from fewshot.errors import UserError
from job_files import PATTERN, some_rows, write_job
from tiny import KINDS, tiny_model, tiny_tokenizer


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(smk):
    run_in_context.main(smk)
    predictions = storage.read_table(smk.output.predictions)
    return predictions, json.loads(Path(smk.output.manifest).read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_whole_prompts(project, kind):
    smk = write_job(project / "in", kind, k=4, family="in_context")
    predictions, manifest = run(smk)
    assert len(predictions) == 2 * (24 + 11) and set(predictions["epoch"]) == {0}
    for facts in manifest["seeds"]["0"]["scoring"].values():
        assert facts["route"] == "shared prefix"
        assert facts["splits"] == facts["ties"] == 0
    tokenizer, model, train = tiny_tokenizer(kind), tiny_model(kind), some_rows(60, "train")
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    for seed in (0, 1):
        draw = storage.read_table(smk.input.shots[seed])
        shots = train.set_index("id").loc[draw["id"]]
        context = "".join(
            f"{row.text_a} {row.text_b} ?{PATTERN.words[row.label]}\n\n"
            for row in shots.itertuples()
        )
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
def test_the_manifest_counts_what_whole_prompts_would_have_cost(project, kind):
    smk = write_job(project / "in", kind, k=4, seeds=(0,), family="in_context")
    _, manifest = run(smk)
    tokenizer, train = tiny_tokenizer(kind), some_rows(60, "train").set_index("id")
    shots = train.loc[storage.read_table(smk.input.shots[0])["id"]]
    context = "".join(
        f"{row.text_a} {row.text_b} ?{PATTERN.words[row.label]}\n\n" for row in shots.itertuples()
    )
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


def test_no_shots_means_bare_queries(project):
    smk = write_job(project / "in", k=0, seeds=(0,), family="in_context")
    predictions, manifest = run(smk)
    assert len(predictions) == 35
    assert manifest["seeds"]["0"]["scoring"]["task"]["shared_tokens"] == 1
    assert manifest["parameters"]["trainable"] == 0


def test_a_seed_that_does_not_fit_has_no_rows(project):
    smk = write_job(project / "in", k=4, unfit=(1,), family="in_context")
    predictions, manifest = run(smk)
    assert set(predictions["seed"]) == {0}
    assert manifest["seeds"]["1"] == {"status": "does not fit"}


def test_no_model_is_loaded_where_nothing_fits(project, monkeypatch):
    smk = write_job(project / "in", k=4, unfit=(0, 1), family="in_context")
    monkeypatch.setattr(in_context, "load_model", lambda *a: pytest.fail("loaded"))
    predictions, _ = run(smk)
    assert len(predictions) == 0


def test_a_killed_job_continues_with_the_next_seed(project, monkeypatch):
    smk = write_job(project / "in", k=4, seeds=(0, 1, 2), family="in_context")
    whole, _ = run(smk)
    for path in (smk.output.predictions, smk.output.curves, smk.output.manifest):
        Path(path).unlink()
    real, seen = in_context._run_seed, []

    def dies_at(seed, number, *rest):
        seen.append(number)
        if number == seed:
            raise KeyboardInterrupt
        return real(rest[0], number, *rest[1:])

    monkeypatch.setattr(in_context, "_run_seed", lambda job, n, *rest: dies_at(1, n, job, *rest))
    with pytest.raises(KeyboardInterrupt):
        run(smk)
    assert not Path(smk.output.predictions).exists()
    monkeypatch.setattr(in_context, "_run_seed", lambda job, n, *rest: dies_at(9, n, job, *rest))
    resumed, _ = run(smk)
    assert seen == [0, 1, 1, 2]
    assert resumed.equals(whole)


def test_scores_that_are_no_numbers_leave_nothing(project, monkeypatch):
    smk = write_job(project / "in", k=4, family="in_context")
    load = in_context.load_model

    def broken(*arguments):
        model = load(*arguments)
        model.model.decoder.final_layer_norm.weight.data[0] = float("nan")
        return model

    monkeypatch.setattr(in_context, "load_model", broken)
    with pytest.raises(UserError, match="seed 0, set 'task', row 100: the score is not a number"):
        run(smk)
    assert not Path(smk.output.predictions).exists()


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


@pytest.mark.parametrize("rank_by", ["sum", "mean"])
def test_words_of_several_tokens_are_ranked_alike_by_job_and_metrics(project, rank_by):
    """Metrics recount the row predictions and would refuse curves that were ranked otherwise."""
    smk = write_job(project / "in", k=4, seeds=(0,), family="in_context")
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
    divisor = 3 if rank_by == "mean" else 1
    guess = own["logprob_1"].astype(float) / divisor > own["logprob_0"].astype(float)
    assert set(found["accuracy"]) == {(guess == own["label"]).mean()}


def test_words_ranked_by_mean_and_by_sum_differ(project):
    """Guards the test above."""
    smk = write_job(project / "in", k=4, seeds=(0,), family="in_context")
    smk.params.pattern |= {"words": [" Yes", " not all believed"]}
    predictions, _ = run(smk)
    first, second = predictions["logprob_0"].astype(float), predictions["logprob_1"].astype(float)
    assert ((second > first) != (second / 3 > first)).any()
