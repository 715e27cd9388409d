"""The scripts of the data rules, one after another, as Snakemake calls them."""

from types import SimpleNamespace

import download_data
import prepare_task
import pyarrow.parquet as pq
import sample_shots
from fewshot import schemas, storage

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


def test_from_a_local_file_to_stored_shots(tmp_path):
    table, path = tmp_path / "mine.tsv", tmp_path / "raw/mine/manifest.json"
    rows, shots = tmp_path / "train.parquet", tmp_path / "seed0.parquet"
    table.write_text(TABLE)
    source = {"local": {"raw-train": str(table)}}
    download_data.main(job(params={"name": "mine", "source": source}, output={"manifest": path}))
    wildcards = {"task": "mine", "split": "train"}
    prepare_task.main(
        job(wildcards, input={"manifest": path}, params={"task": ENTRY}, output={"rows": rows})
    )
    frame = storage.read_table(rows)
    assert pq.read_schema(rows).equals(schemas.ROWS)
    assert frame["id"].tolist() == [i for i in range(30) if i % 3 != 2]
    assert frame["label"].value_counts().to_dict() == {0: 10, 1: 10}
    sample_shots.main(
        job(
            {"draw": "fair", "task": "mine", "k": "4", "seed": "0"},
            input={"train": rows},
            params={"base": "mine", "labels": ["yes", "no"], "factors": {}},
            output={"shots": shots},
        )
    )
    drawn = storage.read_table(shots)
    assert sorted(drawn["label"]) == [0, 0, 1, 1]
    assert (drawn["id"] % 3 == drawn["label"]).all()
    checksum = pq.read_schema(shots).metadata[b"checksum"].decode()
    assert checksum == storage.frame_checksum(drawn.itertuples(index=False))
