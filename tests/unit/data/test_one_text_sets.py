"""Sets of one text: stratified parts, long texts, blanks at their ends, and the real rows."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.data import sources
from fewshot.data.prepare import prepare_rows, prepare_split
from fewshot.errors import UserError
from fewshot.prompts.patterns import bind_pattern
from fewshot.study.registries import load_registries
from tiny import tokenizer_in

REGISTRIES = load_registries(Path(__file__).parents[3] / "config")
TASKS = REGISTRIES["tasks"]
ENTRY = {
    "text": ["text"],
    "label": "label",
    "labels": {"bad": 0, "good": 1},
    "splits": {"validation": "rows"},
}
PATTERNS = {
    "sentiment": ("sst2", "imdb", "yelp", "sst2-200"),
    "topic": ("ag-news",),
    "question-kind": ("trec",),
    "subjectivity": ("subj",),
    "passage-question": ("boolq",),
    "minimal": ("cb", "anli", "rte-100"),
    "eval-harness": ("cb", "anli", "rte-100"),
}


def split_of(folder: Path, frame: pd.DataFrame, entry: dict, task: str, split: str):
    """Return a split whose raw rows are a table."""
    frame.to_parquet(folder / "rows.parquet")
    source = {"local": {entry["splits"][split]: str(folder / "rows.parquet")}}
    storage.write_json(folder / "manifest.json", sources.fetch_source(source, folder, task))
    return prepare_split(folder / "manifest.json", entry, task, split)


def by_part(count: int) -> pd.DataFrame:
    """Return rows of which the first label and the kind a have most."""
    draw = np.random.default_rng(0)
    label = (draw.random(count) < 0.2).astype(int)
    kind = np.where(draw.random(count) < 0.7, "a", "b")
    return pd.DataFrame({"text": [f"t{i}" for i in range(count)], "label": label, "kind": kind})


def test_a_stratified_part_keeps_the_shares_and_depends_on_the_task_alone(tmp_path):
    frame = by_part(1000)
    entry = {**ENTRY, "subsets": {"subset": "kind"}}
    cut = {"rows": 50, "splits": ["validation"], "stratified": True}
    part = split_of(tmp_path, frame, {**entry, "subsample": cut}, "t", "validation")
    shares = frame.groupby(["kind", "label"]).size() * 50 / 1000
    found = part.groupby(["subset", "label"]).size()
    assert len(part) == 50 and part["id"].is_monotonic_increasing
    assert (abs(found.to_numpy() - shares.to_numpy()) < 1).all()
    other = split_of(tmp_path, frame, {**entry, "subsample": cut}, "t", "validation")
    assert other.equals(part)
    larger = split_of(
        tmp_path, frame, {**entry, "subsample": {**cut, "rows": 100}}, "t", "validation"
    )
    assert set(part["id"]) <= set(larger["id"]), "a larger part begins with the same rows"
    named = split_of(tmp_path, frame, {**entry, "subsample": cut}, "u", "validation")
    assert set(named["id"]) != set(part["id"])


def test_a_part_shows_each_stratum(tmp_path):
    cut = {"rows": 3, "splits": ["validation"], "stratified": True}
    entry = {**ENTRY, "subsets": {"subset": "kind"}, "subsample": cut}
    with pytest.raises(UserError) as error:
        split_of(tmp_path, by_part(100), entry, "t", "validation")
    assert str(error.value) == (
        "tasks.yaml: subsample: 3 rows cannot show each of the 4 parts (group, subset, label) of "
        "'t'; valid: 4 or more"
    )


def test_rows_with_long_texts_are_left_out_and_counted(caplog):
    caplog.set_level(logging.INFO)
    raw = pd.DataFrame({"text": ["a" * n for n in (3, 4, 5, 9)], "label": [0, 1, 0, 1]})
    rows = prepare_rows(raw, {**ENTRY, "max_characters": 4}, "t", "validation")
    assert rows["id"].tolist() == [0, 1]
    assert "left out 2 rows with long texts" in caplog.text


def test_blanks_at_the_ends_are_taken_away():
    raw = pd.DataFrame({"text": ["good  film ", "\tbad "], "label": [1, 0]})
    rows = prepare_rows(raw, {**ENTRY, "decode": "trimmed"}, "t", "validation")
    assert rows["text_a"].tolist() == ["good  film", "bad"]
    raw.loc[1, "text"] = None
    with pytest.raises(UserError, match="row 2: column 'text': nan is not text"):
        prepare_rows(raw, {**ENTRY, "decode": "trimmed"}, "t", "validation")


# Files of the real rows, and their raw labels where these are numbered otherwise there.
TREC = {0: "DESC", 1: "ENTY", 2: "ABBR", 3: "HUM", 4: "LOC", 5: "NUM"}
REAL = {
    ("sst2", "validation"): ("sst2_validation", {}),
    ("sst2-200", "validation"): ("sst2_validation", {}),
    ("customer-reviews", "validation"): ("customer_reviews", {}),
    ("customer-reviews-200", "validation"): ("customer_reviews", {}),
    ("trec", "train"): ("trec_train", TREC),
    ("trec", "validation"): ("trec_validation", TREC),
    ("subj", "validation"): ("subj", {0: "subjective", 1: "objective"}),
    ("rte-100", "validation"): ("rte_validation", {}),
    ("hans-150", "validation"): ("hans_validation", {}),
}


def real_rows(shared_data: Path, task: str, split: str) -> pd.DataFrame:
    """Return the rows of a set in the columns that it has on the Hub."""
    name, values = REAL[task, split]
    frame = pd.read_parquet(shared_data / "full" / f"{name}.parquet")
    if values:
        frame["label"] = frame["label"].map(values)
    entry = TASKS[task]
    if len(entry["text"]) == 1:
        frame = frame.rename(columns={"sentence": entry["text"][0], "label": entry["label"]})
    return frame.iloc[-2000:].reset_index(drop=True) if task == "subj" else frame


@pytest.mark.parametrize(("task", "split"), REAL, ids="-".join)
def test_real_rows_have_the_published_counts(shared_data, tmp_path, task, split):
    entry = TASKS[task]
    rows = split_of(tmp_path, real_rows(shared_data, task, split), entry, task, split)
    cut = entry.get("subsample", {})
    if "rows" in cut:
        assert len(rows) == cut["rows"]
    if task == "hans-150":
        assert set(rows.groupby(["subset", "label"]).size()) == {5}
        assert rows["subset"].nunique() == 30
    if task == "customer-reviews-200":
        whole = real_rows(shared_data, task, split)["label"].mean()
        assert abs(rows["label"].mean() - whole) < 1 / 200
    storage.write_table(tmp_path / "prepared.parquet", rows, schemas.ROWS)


def test_every_task_is_read_by_a_pattern():
    for name, tasks in PATTERNS.items():
        for task in tasks:
            bound = bind_pattern(name, REGISTRIES["patterns"][name], task, TASKS[task])
            assert len(bound.words) == len(TASKS[task]["labels"])
    sst2 = bind_pattern("sentiment", REGISTRIES["patterns"]["sentiment"], "sst2", TASKS["sst2"])
    assert (
        sst2.demonstration(1, "a fine film .") == "Review: a fine film .\nSentiment: positive\n\n"
    )
    assert sst2.query("a fine film .") == "Review: a fine film .\nSentiment:"


@pytest.mark.parametrize("name", ["opt_tokenizer", "neox_tokenizer"])
def test_label_words_are_single_tokens(shared_data, name):
    tokenizer = tokenizer_in(shared_data / name)
    for tasks in PATTERNS.values():
        for word in {w for task in tasks for ws in TASKS[task]["verbalizers"].values() for w in ws}:
            assert len(tokenizer(" " + word, add_special_tokens=False)["input_ids"]) == 1, word
