"""The scripts of the data rules, one after another, as Snakemake calls them."""

from types import SimpleNamespace

import download_data
import download_model
import prepare_task
import pyarrow.parquet as pq
import pytest
import sample_shots
from fewshot import schemas, storage
from fewshot.errors import UserError
from tiny import save_tiny

ENTRY = {
    "splits": {"train": "raw-train"},
    "text": ["a"],
    "label": "gold",
    "labels": {"bad": 0, "good": 1},
    "drop": ["?"],
}
TABLE = "a\tgold\n" + "".join(f"text {i}\t{'01?'[i % 3]}\n" for i in range(30))


def job(wildcards=(), **fields):
    parts = {name: SimpleNamespace(**values) for name, values in fields.items()}
    return SimpleNamespace(wildcards=SimpleNamespace(**dict(wildcards)), **parts)


@pytest.fixture
def manifest(tmp_path):
    table = tmp_path / "mine.tsv"
    table.write_text(TABLE)
    path = tmp_path / "raw" / "mine" / "manifest.json"
    source = {"local": {"raw-train": str(table)}}
    download_data.main(job(params={"name": "mine", "source": source}, output={"manifest": path}))
    return path


def prepare(manifest, rows):
    wildcards = {"task": "mine", "split": "train"}
    prepare_task.main(
        job(wildcards, input={"manifest": manifest}, params={"task": ENTRY}, output={"rows": rows})
    )


def test_from_a_local_file_to_stored_shots(manifest, tmp_path):
    rows, shots = tmp_path / "train.parquet", tmp_path / "seed0.parquet"
    prepare(manifest, rows)
    frame = storage.read_table(rows)
    assert pq.read_schema(rows).equals(schemas.ROWS)
    assert frame["id"].tolist() == [i for i in range(30) if i % 3 != 2]
    assert frame["label"].value_counts().to_dict() == {0: 10, 1: 10}
    sample_shots.main(
        job(
            {"draw": "fair", "task": "mine", "k": "4", "seed": "0"},
            input={"train": rows},
            params={"labels": ["yes", "no"]},
            output={"shots": shots},
        )
    )
    drawn = storage.read_table(shots)
    assert sorted(drawn["label"]) == [0, 0, 1, 1]
    assert (drawn["id"] % 3 == drawn["label"]).all()
    checksum = pq.read_schema(shots).metadata[b"checksum"].decode()
    assert checksum == storage.frame_checksum(drawn.itertuples(index=False))


def test_a_file_edited_after_it_was_fetched_is_noticed(manifest, tmp_path):
    (tmp_path / "mine.tsv").write_text(TABLE.replace("text 0", "test 0"))
    with pytest.raises(UserError, match="changed since it was fetched"):
        prepare(manifest, tmp_path / "train.parquet")
    assert not (tmp_path / "train.parquet").exists()


def test_a_local_model_gets_a_manifest(tmp_path):
    model = save_tiny(tmp_path / "model")
    path = tmp_path / "results/manifest.json"
    download_model.main(
        job(params={"name": "m", "entry": {"local": str(model)}}, output={"manifest": path})
    )
    assert storage.read_json(path)["path"] == str(model)
