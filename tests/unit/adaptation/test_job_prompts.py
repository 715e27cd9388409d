"""What a job tokenizes: each prompt once."""

from collections import Counter

import pytest
from fewshot.adaptation import in_context
from fewshot.adaptation.job import read_job
from fewshot.adaptation.job_prompts import JobPrompts
from fewshot.prompts import tokenize
from job_files import write_job


@pytest.fixture
def tokenized(monkeypatch) -> Counter:
    """Return how often each text was tokenized whole."""
    counts, encode = Counter(), tokenize.encode

    def counted(tokenizer, texts, special=True):
        counts.update(texts)
        return encode(tokenizer, texts, special)

    monkeypatch.setattr(tokenize, "encode", counted)
    return counts


@pytest.mark.parametrize("head", ["language-model", "classification"])
def test_rows_are_tokenized_once_for_window_curve_and_scores(tmp_path, tokenized, head):
    job = read_job(write_job(tmp_path, curve_rows=8, head=head, classifier="linear"))
    sets = JobPrompts(job, ()).of_seed(0).sets
    # Of each set the first row is asked for once more, whether label words can be told apart.
    texts = [text for item in job.evaluation for text in job.pattern.queries(item.rows)[1:]]
    assert {tokenized[text] for text in texts} == {1}
    for name, of in sets.curve.items():
        assert len(of.prompts.ids) == 8 < len(sets.whole[name].prompts.ids)
        assert of.prompts.ids == tuple(f"{name}/{number}" for number in of.item.rows["id"])
        alone = tokenize.Queries(
            job.queries.tokenizer, job.pattern.queries(of.item.rows), of.prompts.ids,
            () if head == "classification" else job.pattern.words,
        ).prompts("")  # fmt: skip
        assert (of.prompts.prefix, of.prompts.suffixes) == (alone.prefix, alone.suffixes)


def test_rows_behind_a_context_are_tokenized_once_for_all_seeds(tmp_path, tokenized):
    """Demonstrations end in one of two label words, so that there are two tails of a context."""
    job = read_job(write_job(tmp_path, family="in_context", seeds=(0, 1, 2)), uses_context=True)
    read = in_context.tokenized(job)
    for seed in job.seeds:
        of_seed = read(job, seed, None, in_context.outputs.Phases(), False)
        for item in job.evaluation:
            of_seed.prompts(item, 0)
    queries = job.pattern.queries(job.evaluation[0].rows)
    behind = Counter(
        {text: count for text, count in tokenized.items() if text.endswith(queries[1])}
    )
    tails = [text for text in behind if len(text) < len(queries[1]) + 20]
    assert 2 <= len(tails) <= 3 and {behind[text] for text in tails} == {1}
