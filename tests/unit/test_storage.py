"""Tables with declared columns, atomic files, checksums."""

import hashlib
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fewshot import schemas, storage
from fewshot.analysis import result_schemas, statistics_schemas
from fewshot.errors import UserError

ROWS = pd.DataFrame(
    {
        "id": [4, 9],
        "text_a": ["a", "NA"],
        "text_b": [None, None],
        "label": [0, 1],
        "group": ["x", "x"],
        "subset": ["y", "z"],
        "cluster": [None, None],
    }
)
SHOTS = pd.DataFrame({"position": [0, 1], "id": [7, 3], "label": [1, 0]})


def test_a_table_keeps_its_schema_descriptions_and_values(tmp_path):
    path = tmp_path / "new" / "rows.parquet"
    storage.write_table(path, ROWS[ROWS.columns[::-1]], schemas.ROWS)
    stored = pq.read_schema(path)
    assert stored.names == schemas.ROWS.names, "columns in the declared order"
    assert stored.types == schemas.ROWS.types
    assert all(
        stored.field(name).metadata == schemas.ROWS.field(name).metadata for name in stored.names
    )
    frame = storage.read_table(path)
    assert frame["id"].tolist() == [4, 9] and frame["text_a"].tolist() == ["a", "NA"]
    assert frame["subset"].tolist() == ["y", "z"] and frame["subset"].dtype == "category"
    assert frame[["text_b", "cluster"]].isna().all(axis=None)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_metadata_is_stored_beside_the_columns(tmp_path):
    path = tmp_path / "shots.parquet"
    storage.write_table(path, SHOTS, schemas.SHOTS, checksum="abc")
    assert pq.read_schema(path).metadata[b"checksum"] == b"abc"
    assert storage.read_table(path, columns=["id"])["id"].tolist() == [7, 3]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (SHOTS.assign(extra=1), "surplus columns {'extra'}"),
        (SHOTS.drop(columns="id"), "missing {'id'}"),
        (SHOTS.assign(id=[None, 3]), "id: int64 not null"),
    ],
)
def test_a_table_that_does_not_fit_is_not_written(tmp_path, frame, message):
    with pytest.raises(ValueError, match=message):
        storage.write_table(tmp_path / "t.parquet", frame, schemas.SHOTS)
    assert not list(tmp_path.iterdir())


def test_a_category_without_a_value_is_not_written(tmp_path):
    schema = pa.schema([pa.field("task", schemas.NAME, nullable=False)])
    for dtype in (object, "category"):
        frame = pd.DataFrame({"task": pd.Series(["a", None], dtype=dtype)})
        with pytest.raises(ValueError, match=r"task: .* not null"):
            storage.write_table(tmp_path / "t.parquet", frame, schema)
    assert not list(tmp_path.iterdir())


def test_a_value_out_of_range_is_not_written(tmp_path):
    with pytest.raises(pa.ArrowInvalid):
        storage.write_table(tmp_path / "t.parquet", SHOTS.assign(label=40000), schemas.SHOTS)
    assert not list(tmp_path.iterdir())


def test_every_column_is_described():
    modules = (schemas, result_schemas, statistics_schemas)
    named = [each for module in modules for each in vars(module).values()]
    found = [schema for schema in named if isinstance(schema, pa.Schema)]
    assert len(found) >= 14
    for schema in [*found, schemas.predictions_schema(2)]:
        assert all(field.metadata[b"description"] for field in schema)


def test_damaged_and_missing_tables_are_named(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(UserError, match=r"t.parquet: file not found"):
        storage.read_table(path)
    path.write_bytes(b"no table")
    with pytest.raises(UserError, match=r"t.parquet: not a readable Parquet file"):
        storage.read_table(path)
    rows = pd.concat([ROWS.assign(text_a=[f"text {i}", f"word {i}"]) for i in range(3000)])
    storage.write_table(path, rows, schemas.ROWS)
    body = path.read_bytes()
    middle = len(body) // 3
    path.write_bytes(body[:middle] + bytes(200) + body[middle + 200 :])
    with pytest.raises(UserError, match=r"t.parquet: not a readable Parquet file"):
        storage.read_table(path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "f.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), storage.atomic(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_manifests_are_sorted_and_read_back(tmp_path):
    path = tmp_path / "m.json"
    storage.write_json(path, {"b": 1, "a": [1.5, None]})
    assert path.read_text().index('"a"') < path.read_text().index('"b"')
    assert storage.read_json(path) == {"b": 1, "a": [1.5, None]}
    path.write_text('{"b": ')
    with pytest.raises(UserError, match=r"m.json: not readable JSON"):
        storage.read_json(path)
    with pytest.raises(UserError, match=r"none.json: file not found"):
        storage.read_json(tmp_path / "none.json")


def test_checksums(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    # echo -n abc | sha256sum
    assert storage.sha256(path).startswith("ba7816bf8f01cfea")
    expected = hashlib.sha256(b"0\t7\t1\n1\t3\t0").hexdigest()[:16]
    assert storage.frame_checksum(SHOTS.itertuples(index=False)) == expected
    storage.write_table(tmp_path / "s.parquet", SHOTS, schemas.SHOTS)
    stored = storage.read_table(tmp_path / "s.parquet")
    assert storage.frame_checksum(stored.itertuples(index=False)) == expected, "whatever the types"


def test_json_stays_json(tmp_path):
    storage.write_json(tmp_path / "m.json", {"path": tmp_path})
    assert json.loads((tmp_path / "m.json").read_text()) == {"path": str(tmp_path)}


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    (tmp_path / ".a[1].json.4242.partial").write_text("half")
    (tmp_path / ".other.json.4242.partial").write_text("another's")
    storage.write_json(tmp_path / "a[1].json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".other.json.4242.partial",
        "a[1].json",
    ]


@pytest.mark.parametrize("text", ["{}", "[]", '"text"', '{"kind": "hub"}'])
def test_a_manifest_without_a_key_is_one_line(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json: 'files' is missing; remove the file"):
        storage.read_json(path, "files")
