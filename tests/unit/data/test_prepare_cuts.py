"""Rows that are filtered, decoded, cut to a number and counted, and the published sets' counts."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.data import prepare as prepare_module
from fewshot.data import readers, sources
from fewshot.data.evaluation_sets import read_set
from fewshot.errors import UserError
from fewshot.study.registries import load_registries

ENTRIES = load_registries(Path(__file__).parents[3] / "config")["tasks"]
ENTRY = {
    "text": ["text"],
    "label": "label",
    "labels": {"bad": 0, "good": 1},
    "id": "id",
    "splits": {"train": "a", "validation": "b"},
}
# Made up in the form of PAWS-QQP's file: quotes of both kinds, escapes, bytes beyond ASCII.
PAWS = (
    "id\tsentence1\tsentence2\tlabel\n"
    "1\tb'Is it so ?'\tb\"Is n't it so ?\"\t0\n"
    "2\tb'A \"quoted\" caf\\xc3\\xa9 \\'s'\tb'1 \\\\ 2'\t1\n"
)
COLA = (
    "clc95\t0\t*\tShe is proud she.\n"
    'clc95\t1\t\tShe is "proud".\n'
    "swb04\t1\t\tNobody left.\n"
    "swb04\t0\t?*\tLeft nobody.\n"
)


def prepare(rows, **changes):
    return prepare_module.prepare_rows(
        pd.DataFrame(rows, dtype=object), {**ENTRY, **changes}, "t", "validation"
    )


def manifest_of(folder: Path, **frames) -> Path:
    """Write tables and the manifest that names them as raw splits."""
    paths = {}
    for split, frame in frames.items():
        paths[split] = str(folder / f"{split}.parquet")
        frame.to_parquet(paths[split])
    path = folder / "raw" / "manifest.json"
    storage.write_json(path, sources.fetch_source({"local": paths}, path.parent, "t"))
    return path


def numbered(size: int, first: int = 0) -> pd.DataFrame:
    ids = np.arange(first, first + size)
    return pd.DataFrame({"id": ids, "text": [f"text {i}" for i in ids], "label": ids % 2})


def test_paws_as_it_is_written_and_as_the_published_code_reads_it(tmp_path):
    (tmp_path / "dev_and_test.tsv").write_text(PAWS)
    raw = readers.read_raw(tmp_path / "dev_and_test.tsv")
    texts = ["text_a", "text_b"]
    fair = prepare_module.prepare_rows(raw, ENTRIES["paws-qqp"], "paws-qqp", "validation")
    assert fair[texts].values.tolist() == [
        ["Is it so ?", "Is n't it so ?"],
        ['A "quoted" café \'s', "1 \\ 2"],
    ]
    assert fair[["id", "label"]].values.tolist() == [[1, 0], [2, 1]]
    published = prepare_module.prepare_rows(
        raw, ENTRIES["paws-qqp-llmft"], "paws-qqp", "validation"
    )
    own = [[text[2:-1] for text in line.split("\t")[1:3]] for line in PAWS.splitlines()[1:]]
    assert published[texts].values.tolist() == own
    assert published["text_a"][1] == 'A "quoted" caf\\xc3\\xa9 \\\'s', "escapes stay"


@pytest.mark.parametrize("how", ["byte-literal", "byte-literal-stripped"])
@pytest.mark.parametrize("text", ["plain", "b'open", "'a string'", "b'", "", 5, "-" * 99_999])
def test_what_is_no_byte_literal_is_named(how, text):
    with pytest.raises(UserError, match=r"row 2: column 'text': .* is no byte literal"):
        prepare([{"id": 0, "text": "b'x'", "label": 0}, {"id": 1, "text": text, "label": 1}],
                decode=how)  # fmt: skip


def test_a_literal_that_is_not_utf8_is_named():
    with pytest.raises(UserError, match=r"row 1: .*is no byte literal of UTF-8"):
        rows = [{"id": i, "text": r"b'\xff'", "label": i} for i in (0, 1)]
        prepare(rows, decode="byte-literal")


def test_cola_ood_has_no_header_and_is_told_by_source(tmp_path):
    (tmp_path / "dev.tsv").write_text(COLA)
    entry = ENTRIES["cola-ood"]
    raw = readers.read_raw(tmp_path / "dev.tsv", entry["columns"])
    rows = prepare_module.prepare_rows(raw, entry, "cola-ood", "validation")
    assert rows[["id", "text_a", "label", "subset"]].values.tolist() == [
        [0, "She is proud she.", 0, "clc95"],
        [1, 'She is "proud".', 1, "clc95"],
        [2, "Nobody left.", 1, "swb04"],
        [3, "Left nobody.", 0, "swb04"],
    ]
    storage.write_table(tmp_path / "rows.parquet", rows, schemas.ROWS)
    found = read_set("cola-ood", [0, 1], tmp_path / "rows.parquet")
    assert found.majority([])["majority"].tolist() == [0.5]
    assert found.parts["n"].tolist() == [1, 1, 1, 1]


def test_columns_are_for_files_without_names(tmp_path):
    (tmp_path / "a.tsv").write_text("1\t2\n3\n")
    with pytest.raises(UserError, match="line 2: 1 fields where 'columns' has 2"):
        readers.read_raw(tmp_path / "a.tsv", ["x", "y"])
    (tmp_path / "a.csv").write_text('"1,5",2\n')
    assert readers.read_raw(tmp_path / "a.csv", ["x", "y"]).values.tolist() == [["1,5", "2"]]
    numbered(1).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet: 'columns' is for files without names"):
        readers.read_raw(tmp_path / "a.parquet", ["x"])


def test_a_filter_leaves_ids_and_counts_what_passes(caplog):
    caplog.set_level(logging.INFO)
    rows = [{"id": None, "text": f"t{i}", "label": i % 2, "kind": "abc"[i % 3]} for i in range(6)]
    found = prepare(rows, filter={"kind": ["a", "c"]}, id=None)
    assert found["id"].tolist() == [0, 2, 3, 5]
    assert "filter passes 4 of 6 rows" in caplog.text
    assert "2 rows with label 'bad'" in caplog.text
    with pytest.raises(UserError, match=r"filter: no row has kind 'd'"):
        prepare(rows, filter={"kind": ["a", "d"]}, id=None)
    with pytest.raises(UserError, match="unknown column 'king'; did you mean 'kind'"):
        prepare(rows, filter={"king": ["a"]}, id=None)


def test_rows_without_text_are_kept_where_the_entry_says_so(caplog):
    caplog.set_level(logging.INFO)
    rows = [{"id": 0, "text": "", "label": 0}, {"id": 1, "text": "x", "label": 1}]
    assert prepare(rows, empty_text="keep")["text_a"].tolist() == ["", "x"]
    assert "kept 1 rows with an empty 'text'" in caplog.text
    with pytest.raises(UserError, match="row 1: column 'text': text is empty"):
        prepare(rows)
    with pytest.raises(UserError, match="None is not text"):
        prepare([{**rows[0], "text": None}, rows[1]], empty_text="keep")


def test_an_evaluation_set_is_cut_alike_whatever_the_order(tmp_path):
    entry = {**ENTRY, "subsample": {"rows": 20, "splits": ["validation"]}}
    frame = numbered(200)
    orders = {"a": frame, "b": frame, "c": frame.iloc[::-1]}
    manifest = manifest_of(tmp_path, **orders)
    cut = prepare_module.prepare_split(manifest, entry, "t", "validation")
    assert len(cut) == 20 and cut["id"].is_monotonic_increasing
    assert len(prepare_module.prepare_split(manifest, entry, "t", "train")) == 200, (
        "not among its splits"
    )
    other = {**entry, "splits": {"train": "a", "validation": "c"}}
    assert set(prepare_module.prepare_split(manifest, other, "t", "validation")["id"]) == set(
        cut["id"]
    )
    named = prepare_module.prepare_split(manifest, entry, "u", "validation")
    assert set(named["id"]) != set(cut["id"])


def test_the_published_cut_is_one_stream_over_the_splits(tmp_path):
    """numpy's legacy functions as the published code calls them, one split after the other."""
    cut = {"rows": 30, "splits": ["train", "validation"], "legacy_seed": 123}
    manifest = manifest_of(tmp_path, a=numbered(90, 1000), b=numbered(40))
    np.random.seed(123)
    expected = [np.random.choice(np.arange(size), size=30, replace=False) for size in (90, 40)]
    for split, positions, first in zip(("train", "validation"), expected, (1000, 0), strict=True):
        rows = prepare_module.prepare_split(manifest, {**ENTRY, "subsample": cut}, "t", split)
        assert rows["id"].tolist() == (positions + first).tolist(), "in the order drawn"
        assert rows["text_a"].tolist() == [f"text {i}" for i in rows["id"]]


def test_more_rows_than_there_are_cannot_be_kept(tmp_path):
    manifest = manifest_of(tmp_path, a=numbered(3), b=numbered(8))
    for seed in ({}, {"legacy_seed": 1}):
        entry = {**ENTRY, "subsample": {"rows": 9, "splits": ["validation"], **seed}}
        with pytest.raises(UserError, match="subsample: 9 rows asked for, but there are only 8"):
            prepare_module.prepare_split(manifest, entry, "t", "validation")


def test_another_source_than_the_one_meant_is_refused(tmp_path):
    manifest = manifest_of(tmp_path, a=numbered(10), b=numbered(5))
    for expected in (5, {"bad": 3, "good": 2}):
        entry = {**ENTRY, "expected": {"validation": expected}}
        assert len(prepare_module.prepare_split(manifest, entry, "t", "validation")) == 5
        assert len(prepare_module.prepare_split(manifest, entry, "t", "train")) == 10, (
            "nothing is said"
        )
    for expected, wanted in ((6, "6"), ({"bad": 2, "good": 3}, "bad 2, good 3")):
        with pytest.raises(UserError) as error:
            entry = {**ENTRY, "expected": {"validation": expected}}
            prepare_module.prepare_split(manifest, entry, "t", "validation")
        assert str(error.value) == (
            "task 't', split 'validation': 5 rows (bad 3, good 2) where tasks.yaml expects "
            f"{wanted}: the source is not the one that was meant, or 'expected' is wrong"
        )


# Rows, and the majority baseline as published or counted by hand.
REAL = {
    "mnli": ("mnli_validation_matched", 6692, 3479 / 6692),
    "mnli-three-way": ("mnli_validation_matched", 9815, 3479 / 9815),
    "rte": ("rte_validation", 277, 146 / 277),
    "cola": ("cola_validation", 1043, 721 / 1043),
    "hans": ("hans_validation", 30000, 0.5),
    "hans-lexical-overlap": ("hans_validation", 10000, 0.5),
}


@pytest.mark.parametrize("task", REAL)
def test_real_sets_have_the_rows_and_majorities_of_the_notes(shared_data, tmp_path, task):
    name, size, majority = REAL[task]
    paths = {
        raw: str(shared_data / "full" / f"{name}.parquet")
        for raw in ENTRIES[task]["splits"].values()
    }
    manifest = tmp_path / "manifest.json"
    storage.write_json(manifest, sources.fetch_source({"local": paths}, tmp_path, task))
    rows = prepare_module.prepare_split(manifest, ENTRIES[task], task, "validation")
    assert len(rows) == size
    storage.write_table(tmp_path / "rows.parquet", rows, schemas.ROWS)
    labels = list(range(len(ENTRIES[task]["labels"])))
    found = read_set(task, labels, tmp_path / "rows.parquet")
    assert found.majority([])["majority"].tolist() == [pytest.approx(majority, abs=1e-12)]
    if task == "hans-lexical-overlap":
        assert set(rows["group"]) == {"lexical_overlap"} and rows["subset"].nunique() == 10


@pytest.mark.parametrize("task", ["rte", "cola"])
def test_real_training_sets_have_the_rows_of_the_notes(shared_data, tmp_path, task):
    paths = {"train": str(shared_data / "full" / f"{task}_train.parquet")}
    manifest = tmp_path / "manifest.json"
    storage.write_json(manifest, sources.fetch_source({"local": paths}, tmp_path, task))
    assert len(prepare_module.prepare_split(manifest, ENTRIES[task], task, "train")) > 2000


def test_the_end_of_colas_validation_rows_are_those_of_cola_ood(shared_data):
    rows = readers.read_raw(shared_data / "full" / "cola_validation.parquet")
    gold = rows.loc[rows["idx"] >= 527, "label"].value_counts().to_dict()
    own = ENTRIES["cola-ood"]["expected"]["validation"]
    assert gold == {0: own["unacceptable"], 1: own["acceptable"]}


def test_expected_counts_are_those_of_the_published_sets():
    """The paper's data sets as its repository's notebook and logs have them, and some more."""
    whole = {
        name: entry for name, entry in ENTRIES.items() if not {"subsample", "base"} & entry.keys()
    }
    own = {name: entry.get("expected", {}).get("validation") for name, entry in whole.items()}
    assert {name: sum(each.values()) for name, each in own.items() if isinstance(each, dict)} == {
        "mnli": 6692,
        "mnli-mismatched": 6703,
        "mnli-three-way": 9815,
        "rte": 277,
        "hans": 30000,
        "hans-lexical-overlap": 10000,
        "paws-qqp": 677,
        "paws-qqp-llmft": 677,
        "cola": 1043,
        "cola-ood": 516,
        "sst2": 872,
        "trec": 500,
        "boolq": 3270,
        "cb": 56,
    }
    majorities = {"mnli": 0.5199, "rte": 0.5271, "cola": 0.6913, "mnli-mismatched": 0.5166}
    majorities |= {"paws-qqp": 0.7179, "cola-ood": 0.6860, "hans-lexical-overlap": 0.5}
    majorities |= {"sst2": 0.5092, "boolq": 0.6217, "cb": 0.5}
    for name, majority in majorities.items():
        counts = own[name].values()
        assert round(max(counts) / sum(counts), 4) == majority
