"""Documents of every format and source, and which of them are scored."""

import json

import pandas as pd
import pytest
from fewshot import storage
from fewshot.data import sources
from fewshot.data.texts import prepare_text
from hub_server import Repo
from mistakes import told

ENTRY = {"field": "text", "min_characters": 1, "rows": 200}
COMMIT = "b08601e04326c79dfdd32d625aee71d232d685c3"


def prepared(folder, source, **entry):
    """Return the documents of a source named w."""
    storage.write_json(
        folder / "raw/manifest.json", sources.fetch_source(source, folder / "raw", "w")
    )
    return prepare_text(folder / "raw/manifest.json", {**ENTRY, **entry}, "w")


def local(folder, **files):
    """Write files and return the source that names them, one for each raw split."""
    paths = {}
    for name, (suffix, content) in files.items():
        paths[name] = str(folder / f"{name}.{suffix}")
        (folder / f"{name}.{suffix}").write_bytes(content.encode())
    return {"local": paths}


def test_documents_of_a_text_file_stand_between_blank_lines(tmp_path):
    plain = "One.\nStill one.\r\n \r\nTwo.\n\n\n\n  \nThree.\n"
    found = prepared(tmp_path, local(tmp_path, a=("txt", plain)), field=None)
    assert found["text"].tolist() == ["One.\nStill one.", "Two.", "Three.\n".strip()]


def test_the_files_of_all_splits_follow_one_another_and_short_documents_are_left_out(tmp_path):
    rows = "".join(
        json.dumps({"text": text}) + "\n" for text in ("", " = A = ", "long enough", "x" * 30)
    )
    source = local(tmp_path, a=("jsonl", rows), b=("csv", "n,text\n1,another long\n"))
    found = prepared(tmp_path, source, min_characters=9)
    assert found["id"].tolist() == [2, 3, 4] and found["text"].iloc[-1] == "another long"


def test_which_documents_are_scored_depends_on_the_name_alone(tmp_path):
    """A larger number keeps those of a smaller one, and another length of the others."""
    rows = "".join(json.dumps({"text": f"document {n}" * (1 + n % 2)}) + "\n" for n in range(40))
    source = local(tmp_path, a=("jsonl", rows))
    few, more = (set(prepared(tmp_path, source, rows=n)["id"]) for n in (5, 12))
    assert len(few) == 5 and len(more) == 12 and few < more and few != set(range(5))
    long = prepared(tmp_path, source, rows=12, min_characters=15)["id"]
    assert {n for n in more if n % 2} <= set(long)


def test_a_data_set_of_the_hub_is_fetched_as_those_of_tasks_are(hub_server, tmp_path):
    path = "wikitext-2-raw-v1/test.parquet"
    pd.DataFrame(
        {"text": ["", " = Title = ", "A paragraph of text.", "A second one, long."]}
    ).to_parquet(tmp_path / "w.parquet")
    body = (tmp_path / "w.parquet").read_bytes()
    hub_server.repos["datasets/Salesforce/wikitext"] = Repo(COMMIT, {path: body}, lfs=(path,))
    source = {"hub": "Salesforce/wikitext", "revision": COMMIT, "files": {"test": path}}
    manifest = sources.fetch_source(source, tmp_path / "raw", "w", endpoint=hub_server.url)
    assert manifest["revision"] == COMMIT
    storage.write_json(tmp_path / "raw/manifest.json", manifest)
    found = prepare_text(tmp_path / "raw/manifest.json", {**ENTRY, "min_characters": 12}, "w")
    assert found["id"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("suffix", "content", "entry", "said"),
    [
        ("csv", "words\nx\n", {}, "field: unknown column 'text'; valid: words"),
        ("jsonl", '{"text": 3}\n', {}, "a.jsonl: row 1: field 'text' holds 3, which is no text"),
        (
            "jsonl",
            '{"text": "fine"}\n{"text": "\\ud800"}\n',
            {},
            "a.jsonl: row 2: field 'text': 'utf-8' codec can't encode character '\\ud800'",
        ),
        (
            "txt",
            "only one\n",
            {},
            "text 'w': 1 documents of 1 characters or more; valid: 2 or more",
        ),
    ],
)
def test_a_file_that_holds_no_documents_is_one_line(tmp_path, suffix, content, entry, said):
    source = local(tmp_path, a=(suffix, content))
    assert said in told(prepared, tmp_path, source, **entry)
