"""Branches and tags are resolved once, written down, and then the same everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fewshot import storage
from fewshot.data import sources
from fewshot.downloads import hub, revisions
from fewshot.downloads import models as models_module
from fewshot.errors import UserError
from hub_server import Fault, Repo
from mistakes import told

ROOT = Path(__file__).parents[3]
FIRST, SECOND, THIRD = "a" * 40, "b" * 40, "c" * 40
ENTRY = {"hub": "any/model", "revision": "main"}
LOCKED = {**ENTRY, "commit": FIRST}
FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"safe"}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    monkeypatch.setattr(revisions, "FILE", Path("config/revisions.yaml"))
    return tmp_path / "config/revisions.yaml"


def write(file, **content):
    file.write_text(yaml.safe_dump(content))


def lock(name="m", entry=ENTRY, commit=FIRST, kind="models"):
    return revisions.commit_of(kind, name, entry, lambda: commit)


def never():
    pytest.fail("the Hub was asked")


def test_what_is_pinned_needs_no_entry(file):
    entry = {"hub": "any/model", "revision": FIRST}
    assert revisions.commit_of("models", "m", entry, never) == FIRST
    assert not file.exists()


def test_the_first_commit_is_written_down_and_counts(file):
    write(file, models={"z": {**LOCKED, "hub": "z/z"}}, sources={"hans": LOCKED})
    assert lock() == FIRST
    assert revisions.commit_of("models", "m", ENTRY, never) == FIRST
    text = file.read_text()
    assert text.startswith(revisions.HEADER) and text.index("  m:") < text.index("  z:")
    assert revisions.read() == {
        "models": {"m": LOCKED, "z": {**LOCKED, "hub": "z/z"}},
        "sources": {"hans": LOCKED},
    }
    assert (ROOT / "config/revisions.yaml").read_text().startswith(revisions.HEADER)


def test_two_names_of_one_repository_never_differ(file):
    lock("m")
    assert revisions.commit_of("models", "again", ENTRY, never) == FIRST
    assert revisions.read()["models"]["again"] == LOCKED
    assert lock("set", kind="sources", commit=SECOND) == SECOND, "a data set is another repository"


@pytest.mark.parametrize("change", [{"hub": "another/model"}, {"revision": "v2"}])
def test_an_entry_of_another_declaration_is_replaced(file, change):
    lock()
    assert lock(entry={**ENTRY, **change}, commit=SECOND) == SECOND
    assert revisions.read()["models"] == {"m": {**ENTRY, **change, "commit": SECOND}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {m: {hub: a/b, revision: main, commit: main}}", "models.m.commit: 'main' does"),
        ("models: {m: {hub: a/b, revison: main}}", "models.m: unknown key 'revison'; did you mean"),
        ("model: {}", "top level: unknown key 'model'; did you mean 'models'?"),
        ("models: {m: {hub: a/b, revision: main}}", "models.m: 'commit' is missing"),
        ("models: [", r"line \d: "),
    ],
)
def test_a_broken_file_is_named(file, text, message):
    file.write_text(text)
    with pytest.raises(UserError, match=rf"^config/revisions.yaml: {message}"):
        lock()


@pytest.mark.parametrize("text", ["", "# a comment\n", "models:\n", "{}", "models: {}\nsources:\n"])
def test_a_file_without_entries_is_none(file, text):
    file.write_text(text)
    assert revisions.read() == {"models": {}, "sources": {}}
    assert lock() == FIRST and revisions.read()["models"] == {"m": LOCKED}


def test_a_file_that_cannot_be_written_is_named(file, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match=r"^config/revisions.yaml: cannot be written \(.*No space"):
        lock()
    assert not file.exists() and not list(file.parent.glob("*.partial"))


LOCK = """
import sys
from pathlib import Path
from fewshot.downloads import revisions
revisions.FILE = Path("config/revisions.yaml")
name, start = sys.argv[1:]
shared = {"hub": "s/s", "revision": "main"}
sys.stdin.readline()
for i in range(5):
    entry = {"hub": f"{name}/{i}", "revision": "main"}
    revisions.commit_of("models", f"{name}-{i}", entry, lambda: start * 40)
    revisions.commit_of("models", f"{name}-same", shared, lambda: start * 40)
"""


@pytest.mark.slow
def test_parallel_downloads_lose_no_entry_and_agree(file):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOCK, name, start],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            stdin=subprocess.PIPE,
        )
        for name, start in (("one", "1"), ("two", "2"), ("three", "3"))
    ]
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found = revisions.read()["models"]
    assert len(found) == 3 * 6
    assert len({entry["commit"] for entry in found.values() if entry["hub"] == "s/s"}) == 1


def test_a_manifest_of_another_commit_is_named(file):
    lock()
    models = {
        "m": ENTRY,
        "pinned": {**ENTRY, "revision": SECOND},
        "unlocked": {**ENTRY, "hub": "x"},
    }
    for name, revision in (("m", FIRST), ("pinned", SECOND), ("unlocked", THIRD)):
        storage.write_json(f"results/models/{name}/manifest.json", {"revision": revision})
    revisions.check_manifests("models", {**models, "not fetched": ENTRY}, "results/models")
    storage.write_json("results/models/m/manifest.json", {"revision": SECOND})
    said = told(revisions.check_manifests, "models", models, "results/models")
    assert said == (
        f"config/revisions.yaml: model 'm' is locked to commit {FIRST}, but "
        f"results/models/m/manifest.json has {SECOND}; remove that file to fetch what is locked, "
        "or put the entry back"
    )


@pytest.fixture
def server(hub_server, file):
    hub_server.repos["models/any/model"] = Repo(FIRST, FILES)
    hub_server.repos["datasets/any/rows"] = Repo(FIRST, {"rows.csv": b"a"})
    return hub_server


def test_downloads_take_what_is_locked_after_the_branch_moved(server, tmp_path, caplog):
    source = {"hub": "any/rows", "revision": "main", "files": {"train": "rows.csv"}}

    def fetch():
        rows = sources.fetch_source(source, "results/raw/rows", "rows", endpoint=server.url)
        model = models_module.fetch_model(ENTRY, "results/models/m", "m", endpoint=server.url)
        return rows["revision"], model["revision"]

    assert fetch() == (FIRST, FIRST)
    assert f"revision main is not a commit; using {FIRST}" in caplog.text
    assert revisions.read() == {
        "models": {"m": LOCKED},
        "sources": {"rows": {**LOCKED, "hub": "any/rows"}},
    }
    for key, repo in server.repos.items():
        server.repos[key] = Repo(FIRST, repo.files, refs=())
    caplog.clear()
    assert fetch() == (FIRST, FIRST) and "not a commit" not in caplog.text
    server.repos["models/any/model"] = Repo(SECOND, FILES)
    with pytest.raises(UserError, match=rf"revision {FIRST}: HTTP 404, RevisionNotFound"):
        fetch()


def test_nothing_is_locked_where_the_hub_does_not_answer(server):
    server.faults = [Fault("info", status=404)]
    with pytest.raises(UserError):
        hub.open_locked("models", "m", ENTRY, server.url)
    assert revisions.read() == {"models": {}, "sources": {}}
