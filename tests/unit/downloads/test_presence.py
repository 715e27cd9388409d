"""Markers of weights: true when Snakemake plans, whatever became of the files."""

import os
from pathlib import Path

import pytest
from fewshot import storage
from fewshot.downloads import presence

MARKER = Path("results/models/m/weights.json")
RUN = "results/runs/a/manifest.json"
MANIFEST = {
    "model": "m",
    "revision": "abc",
    "path": "results/models/m/abc",
    "files": {
        name: {"sha256": "0", "bytes": 4}
        for name in ("config.json", "tokenizer.json", "x.index.json", "a.bin", "b.bin")
    },
}


@pytest.fixture(autouse=True)
def fetched(tmp_path, monkeypatch):
    """Lay down a model whose weights are there."""
    monkeypatch.chdir(tmp_path)
    folder = Path(MANIFEST["path"])
    folder.mkdir(parents=True)
    for name in ("a.bin", "b.bin"):
        (folder / name).write_bytes(b"1234")
    files = {name: {"path": str(folder / name), "bytes": 4} for name in ("a.bin", "b.bin")}
    facts = {"model": "m", "revision": "abc", "folder": str(folder)}
    storage.write_json(MARKER, {**facts, "files": files})


@pytest.fixture
def hidden(monkeypatch):
    """Let nobody look behind links."""
    real = os.stat

    def stat(path, **how):
        if how.get("follow_symlinks", True) and os.path.islink(path):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **how)

    monkeypatch.setattr(os, "stat", stat)


def finish():
    storage.write_json(RUN, {})


def lose():
    Path("results/models/m/abc/a.bin").unlink()


def cut():
    Path("results/models/m/abc/b.bin").write_bytes(b"12")


def unlink():
    (path := Path("results/models/m/abc/a.bin")).unlink()
    path.symlink_to("/purged/scratch/a.bin")


@pytest.mark.parametrize("done", [False, True])
def test_what_is_there_is_left_alone(done):
    if done:
        finish()
    before = MARKER.read_bytes()
    assert presence.is_whole(MARKER, MANIFEST) and presence.is_there("m")
    assert presence.settle({"m": [RUN]}) == ""
    assert MARKER.read_bytes() == before


@pytest.mark.parametrize("loss", [lose, cut, unlink])
def test_a_marker_of_lost_files_is_forgotten_with_one_line(loss):
    loss()
    name = "b.bin" if loss is cut else "a.bin"
    assert not presence.is_whole(MARKER, MANIFEST) and not presence.is_there("m")
    assert presence.settle({"m": [RUN]}) == (
        f"weights are gone or incomplete: m (results/models/m/abc/{name}); jobs that need them "
        "fetch them again"
    )
    assert not MARKER.exists()
    assert presence.settle({"m": [RUN]}) == "", "said once"


def test_what_may_not_be_looked_into_is_not_there(hidden):
    unlink()
    assert not presence.is_there("m") and "m (results/models/m/abc/a.bin)" in presence.settle(
        {"m": []}
    )


def test_where_a_run_is_finished_a_marker_without_files_takes_its_place():
    finish()
    lose()
    assert "m (results/models/m/abc/a.bin)" in presence.settle({"m": ["other", RUN]})
    assert storage.read_json(MARKER) == {"model": "m", "files": {}}
    assert not presence.is_there("m")
    before = MARKER.stat().st_mtime_ns
    assert presence.settle({"m": [RUN]}) == ""
    assert MARKER.stat().st_mtime_ns == before, "not written again"
    Path(RUN).unlink()
    assert presence.settle({"m": [RUN]}) == "" and not MARKER.exists()


def test_runs_of_weights_that_were_never_fetched_are_those_of_an_archive():
    finish()
    MARKER.unlink()
    assert presence.settle({"m": [RUN], "never": []}) == ""
    assert storage.read_json(MARKER)["files"] == {}
    assert not presence.marker_of("never").exists()


FILES = '{"folder": "f", "files": {"a": %s}}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"files": 3}'),
        *(FILES % "{}", FILES % "3", FILES.replace('"f"', "3") % '{"bytes": 4}'),
        '{"files": {"a": {"bytes": 4}}}',
    ],
)
def test_a_broken_marker_counts_as_none(text):
    MARKER.write_text(text)
    assert not presence.is_whole(MARKER, MANIFEST)
    assert presence.settle({"m": []}) == "" and not MARKER.exists()


def test_two_processes_may_forget_at_once(monkeypatch):
    """Each removes what the other has not renamed yet; the later one's is there."""
    tried = []

    def late(path, content):
        tried.append((path, content["files"]))
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(presence, "write_json", late)
    presence.forget("m")
    assert tried == [(presence.marker_of("m"), {})]


@pytest.mark.parametrize("change", [{"revision": "def"}, {"files": {"c.bin": {"bytes": 4}}}])
def test_a_marker_of_another_revision_is_not_whole(change):
    assert not presence.is_whole(MARKER, {**MANIFEST, **change})
