"""What the files of published data sets hold is read rightly, or refused with what to do."""

import json
import logging

import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.data import prepare, readers, sources
from fewshot.errors import UserError

ENTRY = {"text": ["a"], "label": "y", "labels": {"no": 0, "yes": 1}, "drop": []}


def write_rows(folder, name, rows):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prepared(values, labels, split="train"):
    raw = pd.DataFrame({"a": ["text"] * len(values), "y": pd.Series(values, dtype=object)})
    entry = {**ENTRY, "labels": labels}
    return prepare.prepare_rows(raw, entry, "t", split)["label"].tolist()


@pytest.mark.parametrize("blank", ["", "\n", "\n\n"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", '{{"a": "x", "y": 0}}\n{0}{{"a": "y", "y": 1}}\n{0}'),
        ("rows.tsv", "a\ty\n{0}x\t0\n{0}y\t1\n{0}"),
        ("rows.csv", "a,y\n{0}x,0\n{0}y,1\n{0}"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_are_no_rows(tmp_path, name, text, blank, end):
    path = tmp_path / name
    path.write_bytes(text.format(blank).replace("\n", end).encode())
    assert readers.read_raw(path)["a"].tolist() == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.tsv", "a\ty\rx\t0\ry\t1\r"),
        ("rows.csv", "a,y\rx,0\ry,1\r"),
        ("rows.jsonl", '{"a": "x"}\r{"a": "y"}'),
    ],
)
def test_files_with_carriage_returns_only_are_read(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert readers.read_raw(path)["a"].tolist() == ["x", "y"]


def test_a_carriage_return_within_a_line_stays_text(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"a\ty\nx\rz\t0\n")
    assert readers.read_raw(path)["a"].tolist() == ["x\rz"]


@pytest.mark.parametrize("labels", [{"no": False, "yes": True}, {"no": "false", "yes": "true"}])
def test_boolean_labels_are_mapped(labels):
    assert prepared([True, False, True], labels) == [1, 0, 1]


def test_a_word_that_yaml_reads_as_a_boolean_is_explained():
    with pytest.raises(UserError, match=r"row 1: y is 'yes' \(text, which YAML reads as a boolean"):
        prepared(["yes"], {"no": False, "yes": True})


def test_a_filter_may_ask_for_a_boolean():
    raw = pd.DataFrame({"a": ["x", "z"], "y": [0, 1], "gold": [True, False]})
    entry = {**ENTRY, "filter": {"gold": [True]}}
    rows = prepare.prepare_rows(raw, entry, "t", "validation")
    assert rows["text_a"].tolist() == ["x"]


@pytest.mark.parametrize("number", [128, 200, 300, 1000])
def test_many_labels_are_stored_as_they_are(tmp_path, number):
    labels = {f"intent{i}": i for i in range(number)}
    raw = pd.DataFrame({"a": ["text"] * number, "y": range(number)})
    rows = prepare.prepare_rows(raw, {**ENTRY, "labels": labels}, "t", "train")
    storage.write_table(tmp_path / "rows.parquet", rows, schemas.ROWS)
    assert storage.read_rows(tmp_path / "rows.parquet")["label"].tolist() == list(range(number))


def test_a_set_that_is_scored_only_may_lack_a_label(caplog):
    caplog.set_level(logging.WARNING)
    assert prepared([0, 0], ENTRY["labels"], "validation") == [0, 0]
    assert "0 rows with label 'yes'" in caplog.text


def test_every_split_needs_a_row():
    raw = pd.DataFrame({"a": ["x"], "y": [2]})
    with pytest.raises(UserError, match="no row has label 'no'"):
        prepare.prepare_rows(raw, {**ENTRY, "drop": [2]}, "t", "validation")


def test_a_split_of_several_files_has_all_their_rows_in_order(tmp_path):
    rows = [{"a": f"text {i}", "y": i % 2} for i in range(5)]
    paths = [write_rows(tmp_path, "x.jsonl", rows[:2]), write_rows(tmp_path, "y.jsonl", rows[2:])]
    manifest = sources.fetch_source({"local": {"train": paths}}, tmp_path, "s")
    storage.write_json(tmp_path / "manifest.json", manifest)
    entry = {**ENTRY, "splits": {"train": "train"}}
    found = prepare.prepare_split(tmp_path / "manifest.json", entry, "t", "train")
    assert found["text_a"].tolist() == [row["a"] for row in rows]
    assert found["id"].tolist() == list(range(5))


def test_files_of_a_split_have_the_same_columns(tmp_path):
    rows = {"x.jsonl": [{"a": 1}], "y.jsonl": [{"b": 1}]}
    paths = [write_rows(tmp_path, *item) for item in rows.items()]
    with pytest.raises(UserError, match=r"y\.jsonl: its columns are b, those of .*x\.jsonl are a"):
        readers.read_split(paths)


def test_a_changed_part_of_a_split_is_noticed(tmp_path):
    paths = [write_rows(tmp_path, name, [{"a": "x", "y": 0}]) for name in ("x.jsonl", "y.jsonl")]
    manifest = sources.fetch_source({"local": {"train": paths}}, tmp_path, "s")
    storage.write_json(tmp_path / "manifest.json", manifest)
    write_rows(tmp_path, "y.jsonl", [{"a": "z", "y": 0}])
    with pytest.raises(UserError, match=r"y\.jsonl changed since it was fetched"):
        readers.raw_files(tmp_path / "manifest.json", "train")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write_rows(tmp_path, "rows.jsonl", [{"a": "x", "y": 0}])
    manifest = sources.fetch_source({"local": {"train": "~/rows.jsonl"}}, tmp_path, "s")
    assert manifest["files"]["train"]["path"] == path
