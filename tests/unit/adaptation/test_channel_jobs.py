"""Channel scoring in context: against transformers on whole texts, and what is stored of it."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import run_in_context
import torch
from fewshot import schemas, storage
from fewshot.adaptation.job import read_job
from fewshot.analysis import metrics
from fewshot.data.evaluation_sets import read_set
from fewshot.data.shots import read_shots
from fewshot.errors import UserError
from fewshot.exchange.lm_eval_tasks import write_tasks
from fewshot.prompts.patterns import ChannelPattern
from fewshot.runtime.processes import ProcessGroup
from fewshot.scoring import score as scoring
from job_files import some_rows, write_job
from lm_harness import cell_of
from tiny import ALL_KINDS, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow

PATTERN = ChannelPattern(
    "turned", ((" . the tall doctor saw ", "text_a"), (" or ", "text_b"), (" ?", None)),
    "Answer:", (" Yes", " No"), "\n\n", "channel",
)  # fmt: skip
GIVEN = " . the tall doctor saw"
SIZES = {"task": 24, "other": 11}


def channel_job(folder: Path, kind: str = "opt", k: int = 4, seeds=(0, 1)):
    smk = write_job(folder, kind, k=k, seeds=seeds, family="in_context")
    smk.params.pattern = asdict(PATTERN)
    smk.wildcards.pattern = "turned"
    return smk


def context_of(smk, seed: int) -> str:
    """Return the demonstrations of a seed, written out."""
    if not smk.input.shots:
        return ""
    shots = read_shots(smk.input.train, {seed: smk.input.shots[seed]})[seed]
    return "".join(
        f"Answer:{PATTERN.words[row.label]}{GIVEN} {row.text_a} or {row.text_b} ?\n\n"
        for row in shots.itertuples()
    )


def whole(kind: str, context: str, row) -> list[tuple[list[int], int]]:
    """Return for each label the tokens of the whole text, and where those scored start."""
    tokenizer, found = tiny_tokenizer(kind), []
    for word in PATTERN.words:
        before = f"{context}Answer:{word}{GIVEN}"
        tokens = tokenizer(f"{before} {row.text_a} or {row.text_b} ?")["input_ids"]
        found.append((tokens, len(tokenizer(before)["input_ids"])))
    return found


def forced(model, tokens: list[int], start: int) -> float:
    """Return the log-probability of the tokens from `start` on, by the model's own logits."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    each = torch.log_softmax(logits, dim=-1)[range(len(tokens) - 1), tokens[1:]]
    return each[start - 1 :].sum().item()


@pytest.mark.parametrize("k", [0, 4])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_scores_are_those_of_whole_texts(tmp_path, kind, k):
    smk = channel_job(tmp_path / "in", kind, k=k, seeds=(0, 1) if k else (0,))
    run_in_context.main(smk)
    predictions, model = storage.read_table(smk.output.predictions), tiny_model(kind)
    assert len(predictions) == sum(SIZES.values()) * (2 if k else 1)
    for seed in read_job(smk, uses_context=True).seeds:
        context = context_of(smk, seed)
        for name, size in SIZES.items():
            of_set = predictions.query(f"seed == {seed} and evaluation_set == '{name}'")
            pairs = zip(some_rows(size, name).itertuples(), of_set.itertuples(), strict=True)
            for row, found in pairs:
                texts = whole(kind, context, row)
                expected = [forced(model, *text) for text in texts]
                assert (found.id, found.label) == (row.id, row.label)
                np.testing.assert_allclose(
                    [found.logprob_0, found.logprob_1], expected, rtol=0, atol=1e-5
                )
                assert [found.tokens_0, found.tokens_1] == [len(t) - start for t, start in texts]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    torch.set_num_threads(1)
    smk = channel_job(tmp_path_factory.mktemp("channel") / "in")
    run_in_context.main(smk)
    return smk


def test_what_a_text_has_no_meaning_for_is_null(finished):
    predictions = storage.read_table(finished.output.predictions)
    assert predictions[["logsumexp", "argmax_is_label"]].isna().all(axis=None)
    assert storage.read_table(finished.output.curves)["correct_vocabulary"].isna().all()
    manifest = storage.read_json(finished.output.manifest)
    assert "content_free" not in manifest["seeds"]["0"]


def test_metrics_need_no_configuration(finished):
    predictions = storage.read_table(finished.output.predictions)
    job = {"method": "ft", "pattern": "turned", "k": 4, "seeds": [0, 1]}
    job["folder"] = str(Path(finished.output.predictions).parent)
    cell = {"protocol": "fair", "task": "task", "model": "tiny"}
    names = zip(SIZES, finished.input.evaluation, strict=True)
    sets = [read_set(name, (0, 1), path) for name, path in names]
    found = metrics.compute_metrics(cell, [job], sets).metrics
    overall = found.query("label.isna() and selection == 'last'")
    for row in overall.itertuples():
        own = predictions.query(f"evaluation_set == '{row.evaluation_set}' and seed == {row.seed}")
        right = (own["logprob_1"] > own["logprob_0"]) == own["label"]
        assert row.accuracy == pytest.approx(right.mean())
        assert np.isnan([row.vocabulary_accuracy, row.accuracy_contextual, row.accuracy_pmi]).all()
        assert 0 <= row.accuracy_batch <= 1 and 0 <= row.roc_area <= 1
    assert overall["accuracy"].nunique() > 1


def test_the_manifest_counts_each_text_behind_each_label_word(finished):
    entry = json.loads(Path(finished.output.manifest).read_text())["seeds"]["1"]
    context = context_of(finished, 1)
    for name, size in SIZES.items():
        texts = [
            text
            for row in some_rows(size, name).itertuples()
            for text in whole("opt", context, row)
        ]
        found = entry["scoring"][name]
        # The last token is predicted only.
        own = np.array([len(tokens) - 1 for tokens, _ in texts]) - found["shared_tokens"]
        assert (found["rows"], found["prompts"]) == (size, 2 * size)
        assert (found["own_tokens"], found["own_squares"]) == (own.sum(), (own**2).sum())
        assert found["answers"] == sum(len(tokens) - start for tokens, start in texts)
        assert found["longest_tokens"] == found["shared_tokens"] + own.max()
        # What stands behind the label word is read once for several rows.
        assert found["tokens_read"] < 0.95 * (found["shared_tokens"] + found["own_tokens"])
        assert found["route"] == "shared prefix"


def test_the_window_counts_the_whole_text(tmp_path):
    smk = channel_job(tmp_path / "in", seeds=(0,))
    context = context_of(smk, 0)
    longest = max(
        len(tokens) - 1
        for name, size in SIZES.items()
        for row in some_rows(size, name).itertuples()
        for tokens, _ in whole("opt", context, row)
    )
    for window, status in ((longest, "ok"), (longest - 1, "does not fit")):
        smk.params.model["window"] = window
        assert read_job(smk, uses_context=True).status == {0: status}


def test_logits_are_held_in_parts(tmp_path, monkeypatch, finished):
    """Three positions at a time, and as often in each process where none computes any alone."""
    whole_reads = storage.read_table(finished.output.predictions)
    smk, most = channel_job(tmp_path / "in"), []
    monkeypatch.setattr(scoring, "READS", 3)
    read_off = scoring.WordScores._read_off

    def counted(self, hidden, targets):
        most.append(len(hidden))
        return read_off(self, hidden, targets)

    monkeypatch.setattr(scoring.WordScores, "_read_off", counted)
    monkeypatch.setattr(ProcessGroup, "gather", lambda self, parts: [parts, parts + 2])
    run_in_context.main(smk)
    parts = storage.read_table(smk.output.predictions)
    assert max(most) == 3 and 0 in most
    columns = ["logprob_0", "logprob_1"]
    np.testing.assert_allclose(parts[columns], whole_reads[columns], rtol=0, atol=1e-5)


def test_the_stored_rule_is_the_channel(finished):
    import pyarrow.parquet as pq

    metadata = pq.read_schema(finished.output.predictions).metadata
    assert schemas.read_ranking(metadata) == ("channel", [])


def test_the_harness_has_no_such_task(finished, tmp_path):
    cell = cell_of(finished, 4)
    with pytest.raises(UserError, match=r"^patterns.yaml: pattern 'turned' scores texts behind"):
        write_tasks(tmp_path, [cell])
