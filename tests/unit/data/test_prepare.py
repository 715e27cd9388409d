"""Raw tables in every format become the same rows; what does not fit is an error."""

import json
import logging
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.data import prepare as prepare_module
from fewshot.data import readers, sources
from fewshot.data.evaluation_sets import read_set
from fewshot.errors import UserError
from fewshot.study.registries import load_registries
from mistakes import told

ENTRY = {
    "text": ["premise", "hypothesis"],
    "label": "label",
    "labels": {"entailment": 0, "contradiction": 2},
    "drop": [1],
    "id": "idx",
}
RAW = [
    {"idx": 7, "premise": 'He said "NA', "hypothesis": "null", "label": 0},
    {"idx": 3, "premise": "neutral, dropped", "hypothesis": "x", "label": 1},
    {"idx": 5, "premise": "Ünïcode \u2028 break", "hypothesis": '"a" b" ', "label": 2},
]
# The same three rows, written by hand in each text format.
TEXTS = {
    "rows.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in RAW),
    "rows.tsv": "idx\tpremise\thypothesis\tlabel\n"
    '7\tHe said "NA\tnull\t0\n'
    "3\tneutral, dropped\tx\t1\n"
    '5\tÜnïcode \u2028 break\t"a" b" \t2\n',
    "rows.csv": "idx,premise,hypothesis,label\n"
    '7,"He said ""NA",null,0\n'
    '3,"neutral, dropped",x,1\n'
    '5,Ünïcode \u2028 break,"""a"" b"" ",2\n',
}
HANS_TEXT = (
    "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2\tpairID\theuristic\tsubcase\ttemplate\n"
    "non-entailment\t( ( The\t( The\t(ROOT\t(ROOT\tThe doctor saw the judge .\t"
    "The judge saw the doctor .\tex0\tlexical_overlap\tln_subject/object_swap\ttemp1\n"
    "entailment\t( ( The\t( The\t(ROOT\t(ROOT\tThe judge and the actor ran .\t"
    "The actor ran .\tex1\tlexical_overlap\tle_conjunction\ttemp4\n"
)
HANS_ENTRY = {
    "text": ["sentence1", "sentence2"],
    "label": "gold_label",
    "labels": {"entailment": "entailment", "non-entailment": "non-entailment"},
    "subsets": {"group": "heuristic", "subset": "subcase", "cluster": "template"},
}


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder, name, text):
    return readers.read_raw(write(folder, name, text))


def prepare(rows, **changes):
    return prepare_module.prepare_rows(
        pd.DataFrame(rows, dtype=object), {**ENTRY, **changes}, "mnli", "train"
    )


@pytest.mark.parametrize("name", [*TEXTS, "rows.txt", "rows.parquet"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_all_formats_give_the_same_rows(tmp_path, name, line_end, mark):
    if name == "rows.parquet":
        path = tmp_path / name
        pd.DataFrame(RAW).to_parquet(path)
    else:
        text = TEXTS[name.replace("txt", "tsv")]
        path = write(tmp_path, name, mark + text.replace("\n", line_end))
    rows = prepare_module.prepare_rows(readers.read_raw(path), ENTRY, "mnli", "train")
    assert rows[["id", "text_a", "text_b", "label"]].values.tolist() == [
        [7, 'He said "NA', "null", 0],
        [5, "Ünïcode \u2028 break", '"a" b" ', 1],
    ]
    storage.write_table(tmp_path / "out.parquet", rows, schemas.ROWS)
    stored = storage.read_table(tmp_path / "out.parquet")
    assert stored["text_a"].tolist() == rows["text_a"].tolist()
    assert stored[["group", "subset", "cluster"]].isna().all(axis=None)


def test_quoted_csv_fields_may_hold_line_breaks(tmp_path):
    raw = read(tmp_path, "rows.csv", 'premise,label\n"two\nlines",1\n')
    assert raw.values.tolist() == [["two\nlines", "1"]]


def test_hans_as_published(tmp_path):
    raw = read(tmp_path, "heuristics_evaluation_set.txt", HANS_TEXT)
    rows = prepare_module.prepare_rows(raw, HANS_ENTRY, "hans", "validation")
    assert rows[["text_a", "text_b"]].values.tolist() == [
        ["The doctor saw the judge .", "The judge saw the doctor ."],
        ["The judge and the actor ran .", "The actor ran ."],
    ]
    assert rows[["id", "label", "group", "subset", "cluster"]].values.tolist() == [
        [0, 1, "lexical_overlap", "ln_subject/object_swap", "temp1"],
        [1, 0, "lexical_overlap", "le_conjunction", "temp4"],
    ]


def premises(folder, texts, **changes):
    """Return the prepared validation rows of premises, with the ids 7, 6, 5, …"""
    split = {"splits": {"validation": "validation"}}
    raw = [
        {"idx": 7 - i, "premise": text, "hypothesis": f"h{i}", "label": 2 * (i % 2), "own": f"o{i}"}
        for i, text in enumerate(texts)
    ]
    pd.DataFrame(raw).to_parquet(folder / "validation.parquet")
    path = folder / "raw" / "manifest.json"
    names = {"validation": str(folder / "validation.parquet")}
    storage.write_json(path, sources.fetch_source({"local": names}, path.parent, "t"))
    return prepare_module.prepare_split(path, {**ENTRY, **split, **changes}, "t", "validation")


def test_rows_that_share_their_first_text_are_a_cluster(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rows = premises(tmp_path, ["a", "b", "a", "c", "b", "a"])
    assert rows["id"].tolist() == [7, 6, 5, 4, 3, 2]
    assert rows["cluster"].tolist() == ["2", "3", "2", None, "3", "2"], "named by their lowest id"
    told = "5 of 6 rows share their first text with others, in 2 clusters"
    assert caplog.messages[-1] == f"task 't', split 'validation': {told}"
    path = tmp_path / "rows.parquet"
    storage.write_table(path, rows, schemas.ROWS)
    assert read_set("t", (0, 1), path).clusters.tolist() == [0, 1, 2, 0, 1, 0], "by ascending id"


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        ("abcd", {}),
        ("aaaa", {}),
        ("aaab", {"text": ["premise"]}),
        ("aaab", {"subsets": {"cluster": False}}),
        ("  ab", {"empty_text": "keep"}),
    ],
    ids=["none twice", "all the same", "one text", "not wanted", "empty"],
)
def test_where_first_texts_make_no_clusters(tmp_path, caplog, texts, changes):
    caplog.set_level(logging.INFO)
    assert premises(tmp_path, texts, **changes)["cluster"].isna().all()
    told = "all rows have the same first text, which makes no clusters" in caplog.text
    assert told == (texts == "aaaa")


def test_a_column_that_names_clusters_comes_before_first_texts(tmp_path):
    rows = premises(tmp_path, "aabb", subsets={"cluster": "own"})
    assert rows["cluster"].tolist() == ["o0", "o1", "o2", "o3"]


def test_rows_that_a_cut_leaves_alone_are_no_cluster(tmp_path):
    """Of two pairs one row is left out, so that one pair is left."""
    cut = {"rows": 3, "splits": ["validation"]}
    clusters = premises(tmp_path, "abab", subsample=cut).set_index("text_a")["cluster"]
    sizes = clusters.groupby("text_a").size()
    assert sorted(sizes) == [1, 2]
    assert clusters[sizes.idxmin()] is None and clusters[sizes.idxmax()].nunique() == 1


def test_ids_are_positions_in_the_published_split_before_rows_are_dropped():
    assert prepare(RAW, id=None)["id"].tolist() == [0, 2]


def test_three_labels_and_several_raw_values_for_one():
    labels = {"entailment": 0, "neutral": 1, "contradiction": 2}
    assert prepare(RAW, labels=labels, drop=[])["label"].tolist() == [0, 1, 2]
    two = {"entailment": 0, "not_entailment": ["1", 2]}
    assert prepare(RAW, labels=two, drop=[])["label"].tolist() == [0, 1, 1]


def test_one_text_field_leaves_the_second_null(tmp_path):
    rows = prepare(RAW, text=["premise"])
    assert rows["text_b"].isna().all()
    storage.write_table(tmp_path / "rows.parquet", rows, schemas.ROWS)


@pytest.mark.parametrize("value", [0, "0", 0.0])
def test_numbers_and_digits_are_the_same_label(value):
    rows = [{**RAW[0], "label": value}, RAW[2]]
    assert prepare(rows)["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, "3"),
        ("entailment", "'entailment'"),
        (None, "None"),
        (True, "True (a boolean: true or false)"),
        (0.5, "0.5"),
        (float("nan"), "nan"),
        (" 0", "' 0'"),
        ("", "''"),
        (-1, "-1"),
    ],
)
def test_a_label_outside_the_map_is_named_with_its_row(value, shown):
    assert told(prepare, [*RAW, {**RAW[0], "idx": 9, "label": value}]) == (
        f"task 'mnli', split 'train': row 4: label is {shown}, which is neither in labels nor in "
        "drop; valid: 1, 0, 2"
    )


def test_what_is_left_out_is_logged_with_counts(caplog):
    caplog.set_level(logging.INFO)
    prepare(RAW)
    assert [record.message for record in caplog.records] == [
        "task 'mnli', split 'train': left out 1 rows with label 1",
        "task 'mnli', split 'train': 1 rows with label 'entailment'",
        "task 'mnli', split 'train': 1 rows with label 'contradiction'",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ["premise", "hypotesis"]}, "unknown column 'hypotesis'; did you mean 'hypothes"),
        ({"label": "gold"}, "unknown column 'gold'; valid: idx, premise, hypothesis, label"),
        ({"id": "pair"}, "unknown column 'pair'"),
        ({"id": "premise"}, "row 1: id column 'premise' holds 'He said \"NA', not an integer"),
        ({"subsets": {"group": "genre"}}, "unknown column 'genre'"),
        ({"drop": [1, 2]}, "raw label 2 is given two meanings"),
        ({"drop": [1, "2"]}, "raw label 2 is given two meanings"),
        ({"labels": {"a": 0, "b": [2, 0]}}, "raw label 0 is given two meanings"),
        ({"labels": {"a": 0, "b": 2, "c": 3}}, r"no row has label 'c' \(3 rows read\)"),
    ],
)
def test_an_entry_that_does_not_fit_the_columns(changes, message):
    with pytest.raises(UserError, match=message):
        prepare(RAW, **changes)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("", "text is empty"),
        (" \n", "text is empty"),
        (None, "None is not text"),
        (5, "5 is not text"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_a_text_that_is_none_is_named_with_its_row(value, what):
    with pytest.raises(UserError, match=f"row 3: column 'hypothesis': .*{what}"):
        prepare([*RAW[:2], {**RAW[2], "hypothesis": value}])
    assert len(prepare([RAW[0], {**RAW[1], "hypothesis": value}, RAW[2]])) == 2, "dropped anyway"


def test_an_id_given_twice_is_an_error_even_in_a_dropped_row():
    with pytest.raises(UserError, match=r"row 2: id 7 appears twice"):
        prepare([RAW[0], {**RAW[1], "idx": 7}, RAW[2]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl: line 2: not JSON"),
        ("a.jsonl", '{"a": ' + "[" * 99_999, "a.jsonl: line 1: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl: line 1: not a JSON object"),
        ("a.jsonl", "", "a.jsonl: has no rows"),
        ("a.jsonl", b'{"a": "\xff"}\n', "a.jsonl: not UTF-8 text"),
        ("a.tsv", "x\ty\n1\t2\n1\n", "a.tsv: line 3: 1 fields where the header has 2"),
        ("a.tsv", "x\tx\n1\t2\n", "two columns have the same name"),
        ("a.tsv", "x\ty\n", "a.tsv: has no rows"),
        ("a.txt", b"x\n\xff\n", "a.txt: not UTF-8 text"),
        ("a.csv", 'x,y\n1,"2\n', "a.csv: line 2: unexpected end of data"),
        ("a.csv", "x,y\n1,2\n1,2,3\n", "a.csv: line 3: 3 fields where the header has 2"),
        ("a.parquet", b"PAR1 no", "a.parquet: cannot be read"),
        ("a.parquet", b"", "a.parquet: cannot be read"),
        ("a.json", "{}", "unknown file extension '.json'; did you mean '.jsonl'"),
    ],
)
def test_a_damaged_file_is_named_with_the_cause(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, name, text)


def test_a_parquet_file_damaged_in_the_middle(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"x": [f"text {i}" for i in range(5000)]}).to_parquet(path, compression="zstd")
    body = path.read_bytes()
    middle = len(body) // 3
    path.write_bytes(body[:middle] + bytes(200) + body[middle + 200 :])
    with pytest.raises(UserError, match=r"a.parquet: cannot be read"):
        readers.read_raw(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.tsv: file not found"):
        readers.read_raw(tmp_path / "none.tsv")


@pytest.mark.parametrize(
    ("task", "shared", "units"), [("mnli", 6391, 3303), ("mnli-three-way", 9807, 3334)]
)
def test_premises_of_the_real_mnli(shared_data, task, shared, units):
    """Nearly all rows share their premise; counts are those of Python's own Counter."""
    entry = load_registries(Path(__file__).parents[3] / "config")["tasks"][task]
    raw = readers.read_raw(shared_data / "full/mnli_validation_matched.parquet")
    rows = prepare_module.prepare_rows(raw, entry, task, "validation")
    found = prepare_module.text_clusters(rows, "mnli")
    times = Counter(rows["text_a"])
    assert sum(count for count in times.values() if count > 1) == shared == found.notna().sum()
    assert len(times) == units == found.nunique() + found.isna().sum()


def test_real_rte(shared_data):
    entry = load_registries(Path(__file__).parents[3] / "config")["tasks"]["rte"]
    names = ("rte_train.jsonl", "rte_validation.jsonl", "full/rte_validation.parquet")
    train, *both = (
        prepare_module.prepare_rows(readers.read_raw(shared_data / name), entry, "rte", "split")
        for name in names
    )
    assert train["label"].value_counts().to_dict() == {0: 1249, 1: 1241}
    assert both[0]["label"].value_counts().to_dict() == {0: 146, 1: 131}
    assert train["id"].is_unique and both[0]["id"].is_unique
    pd.testing.assert_frame_equal(*both)
