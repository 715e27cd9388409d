"""Raw rows that are read or made here: local files and synthetic ones; where all are found."""

import filelock
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fewshot.data import readers, sources
from fewshot.errors import UserError
from fewshot.runtime.locks import exclusive
from fewshot.storage import write_json


def test_local_files_stay_where_they_are(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"abc")
    manifest = sources.fetch_source({"local": {"train": str(path)}}, tmp_path / "raw", "mine")
    assert manifest == {
        "source": "mine",
        "kind": "local",
        "revision": None,
        "files": {
            "train": {
                "path": str(path),
                # echo -n abc | sha256sum
                "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "bytes": 3,
            }
        },
    }


def test_a_missing_local_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"source 'mine': split 'dev': nowhere.tsv is not a file"):
        sources.fetch_source({"local": {"dev": "nowhere.tsv"}}, tmp_path, "mine")


def test_synthetic_rows_are_made_again_with_the_same_bytes(tmp_path, monkeypatch):
    calls = []

    def generate(kind, split, size, seed):
        calls.append((kind, split, size, seed))
        return pd.DataFrame({"idx": range(size), "premise": ["p"] * size, "label": [0] * size})

    monkeypatch.setattr(sources, "generate", generate)
    source = {"synthetic": "rte-like", "sizes": {"train": 3, "validation": 2}, "seed": 7}
    first = sources.fetch_source(source, tmp_path / "a", "s")
    assert sources.fetch_source(source, tmp_path / "b", "s") == first
    assert calls[:2] == [("rte-like", "train", 3, 7), ("rte-like", "validation", 2, 7)]
    assert first["kind"] == "synthetic"
    assert pq.read_table(tmp_path / "a" / first["files"]["train"]["path"]).num_rows == 3


@pytest.mark.parametrize(
    ("source", "maker"),
    [
        ({"synthetic": "rte-like", "sizes": {"dev": 3}}, "generate"),
        ({"url": {"dev": {"address": "https://example.org/dev.tsv"}}}, "fetch_file"),
    ],
)
def test_a_clean_up_finds_the_lock_held_while_files_are_made(tmp_path, monkeypatch, source, maker):
    def made(*_):
        with pytest.raises(filelock.Timeout), exclusive(tmp_path, wait=False):
            pass
        raise UserError("held")

    monkeypatch.setattr(sources, maker, made)
    with pytest.raises(UserError, match=r"^held$"):
        sources.fetch_source(source, tmp_path / "raw", "mine")


def test_raw_file_is_the_one_that_was_fetched(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"abc")
    manifest = tmp_path / "raw" / "manifest.json"
    content = sources.fetch_source({"local": {"train": str(path)}}, manifest.parent, "mine")
    write_json(manifest, content)
    assert readers.raw_files(manifest, "train") == [path]
    with pytest.raises(UserError, match=r"unknown raw split 'trian'; did you mean 'train'"):
        readers.raw_files(manifest, "trian")
    path.write_bytes(b"abd")
    with pytest.raises(UserError, match=r"split 'train': .*rows.tsv changed since it was fetched"):
        readers.raw_files(manifest, "train")
    path.unlink()
    with pytest.raises(UserError, match=r"file .*rows.tsv is gone; put it back"):
        readers.raw_files(manifest, "train")
