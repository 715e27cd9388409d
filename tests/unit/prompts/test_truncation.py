"""Prompts cut on the right as the published code cuts them, and what the manifest says of it."""

import pandas as pd
import pytest
from fewshot.adaptation import training
from fewshot.adaptation.batches import query_prompts
from fewshot.prompts.channel import queries_of
from fewshot.prompts.tokenize import Prompts, truncate
from job_files import PATTERN
from seed_runs import a_job, set_up
from tiny import tiny_tokenizer


def prompts(*rows: str) -> Prompts:
    return Prompts(tuple(range(len(rows))), (), [tuple(map(ord, row)) for row in rows])


def texts(made: Prompts) -> list[str]:
    return ["".join(map(chr, made.prefix + suffix)) for suffix in made.suffixes]


@pytest.mark.parametrize(
    ("rows", "limit", "cut", "count"),
    [
        (["abcd", "ab", "abx"], 3, ["abc", "ab", "abx"], 1),
        (["abcd", "abce"], 3, ["abc", "abc"], 2),
        (["abcd", "b"], 4, ["abcd", "b"], 0),
        (["abcd", "b"], 1, ["a", "b"], 1),
        (["abcd"], None, ["abcd"], 0),
    ],
)
def test_rows_are_cut_on_the_right_and_counted(rows, limit, cut, count, caplog):
    made, longer = truncate(prompts(*rows), limit, "set 'x'")
    assert (texts(made), longer) == (cut, count)
    assert all(made.suffixes), "each row keeps a token of its own"
    told = f"set 'x': {count} of {len(rows)} rows cut to {limit} tokens" in caplog.text
    assert told == bool(count)


def lengths(rows: pd.DataFrame) -> list[int]:
    texts = [f"{row.text_a} {row.text_b} ?" for row in rows.itertuples()]
    return [len(tiny_tokenizer()(text).input_ids) for text in texts]


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "classification"},
        {"curve_rows": 10},
        {"family": "prompt_tuning", "virtual_tokens": 3, "learning_rate": 0.1},
    ],
)
def test_training_and_scoring_read_what_is_left_and_the_manifest_counts_the_rest(
    tmp_path, settings
):
    job = a_job(epochs=1, truncate=6, **settings)
    made = set_up("opt", job)
    virtual = settings.get("virtual_tokens", 0)
    for scored in (*made.prompts.bare.curve.values(), *made.prompts.bare.whole.values()):
        assert max(scored.prompts.lengths) == 6 + virtual
    facts = training.train_seed(made, 0, tmp_path).facts
    expected = {each.name: sum(n > 6 for n in lengths(each.rows)) for each in job.evaluation}
    expected["train"] = sum(n > 6 for n in lengths(job.shots[0]))
    assert facts["truncated"] == expected and all(expected.values())


def test_nothing_is_cut_unless_it_is_asked_for(tmp_path):
    made = set_up("opt", a_job(epochs=1))
    whole = {name: max(scored.prompts.lengths) for name, scored in made.prompts.bare.whole.items()}
    assert whole == {each.name: max(lengths(each.rows)) for each in made.job.evaluation}
    assert "truncated" not in training.train_seed(made, 0, tmp_path).facts


def test_real_rows_are_cut_as_transformers_cuts_them(shared_data, real):
    rows = pd.read_json(shared_data / "rte_train.jsonl", lines=True)
    rows = rows.rename(columns={"sentence1": "text_a", "sentence2": "text_b", "idx": "id"})
    rows = rows.loc[rows["text_a"].str.len().sort_values().index[-60:]]
    texts = [PATTERN.query(a, b) for a, b in zip(rows["text_a"], rows["text_b"], strict=True)]
    queries = queries_of(real, PATTERN, rows, rows["id"].tolist())
    made, longer = truncate(query_prompts(queries, PATTERN), 256, "rte")
    judge = real(texts, truncation=True, max_length=256)["input_ids"]
    assert [list(made.prefix + suffix) for suffix in made.suffixes] == judge
    assert longer == sum(len(ids) > 256 for ids in real(texts)["input_ids"]) > 0
