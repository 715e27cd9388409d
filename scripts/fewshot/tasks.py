"""Read raw rows in any of the formats and bring them to the columns of `records.ROWS`."""

import csv
import io
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import UserError, unknown
from .records import ROWS, read_json, sha256


def raw_file(manifest_path: str | Path, split: str) -> Path:
    """Return the raw file of a split; raises UserError where it is not what was fetched."""
    manifest = read_json(manifest_path)
    where = f"source '{manifest['source']}'"
    if split not in manifest["files"]:
        raise unknown("raw split", split, manifest["files"], where)
    entry = manifest["files"][split]
    local = manifest["kind"] == "local"
    path = Path(entry["path"]) if local else Path(manifest_path).parent / entry["path"]
    if not path.is_file():
        raise UserError(f"{where}: split '{split}': file {path} is gone; remove {manifest_path}")
    if sha256(path) != entry["sha256"]:
        raise UserError(
            f"{where}: split '{split}': {path} changed since it was fetched; remove {manifest_path}"
        )
    return path


def read_raw(path: str | Path) -> pd.DataFrame:
    """Read a table by its extension: .parquet, .jsonl, .tsv, .csv, or .txt (tab-separated).

    All columns have dtype object. Text is never interpreted: "NA" and "null" are words, values
    of tsv, csv and txt are strings, and quotes in tsv and txt are part of the text. Raises
    UserError naming the file, the line and what is wrong.
    """
    path = Path(path)
    readers = {
        ".parquet": _read_parquet,
        ".jsonl": _read_jsonl,
        ".tsv": _read_tabs,
        ".txt": _read_tabs,
        ".csv": _read_csv,
    }
    if path.suffix not in readers:
        raise unknown("file extension", path.suffix, readers, str(path))
    try:
        return readers[path.suffix](path)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def prepare(raw: pd.DataFrame, entry: dict, task: str, split: str) -> pd.DataFrame:
    """Return the rows of one split in the columns of `records.ROWS`, in the published order.

    `entry` is that of config/tasks.yaml. Ids are those of the raw split, before rows with a label
    in `drop` are left out; how many is logged. Raises UserError naming task, split, row (from 0)
    and value for anything that does not fit the entry.
    """
    where = f"task '{task}', split '{split}'"
    subsets = entry.get("subsets", {})
    for column in (*entry["text"], entry["label"], *subsets.values(), entry.get("id")):
        if column is not None and column not in raw.columns:
            raise unknown("column", column, raw.columns, where)
    labels = _labels(raw[entry["label"]], entry, where)
    rows = pd.DataFrame({"id": _ids(raw, entry.get("id"), where), "label": labels})
    kept = (labels >= 0).to_numpy()
    _log_counts(raw[entry["label"]], labels, list(entry["labels"]), where)
    texts = [*entry["text"], None][:2]
    for target, column in zip(("text_a", "text_b"), texts, strict=True):
        rows[target] = _texts(raw[column], kept, where) if column else None
    for target in ("group", "subset", "cluster"):
        column = subsets.get(target)
        rows[target] = _texts(raw[column], kept, where) if column else None
    rows = rows.loc[kept, ROWS.names].reset_index(drop=True)
    return rows.astype({"label": np.int8})


def _labels(values: pd.Series, entry: dict, where: str) -> pd.Series:
    """Return label indices, -1 for rows to drop."""
    index: dict[str, int] = {}
    groups = [
        [value] if not isinstance(value, list) else value for value in entry["labels"].values()
    ]
    for number, group in [(-1, entry.get("drop", [])), *enumerate(groups)]:
        for value in group:
            if index.setdefault(_label_key(value), number) != number:
                raise UserError(f"{where}: raw label {value!r} is given two meanings")
    labels = [index.get(_label_key(value)) for value in values]
    if None in labels:
        row = labels.index(None)
        raise UserError(
            f"{where}: row {row}: {entry['label']} is {values.iloc[row]!r}, "
            f"which is neither in labels nor in drop; valid: {', '.join(index)}"
        )
    return pd.Series(labels, dtype=np.int64)


def _label_key(value: object) -> str | None:
    """Return how a raw label is compared: 0, 0.0 and "0" are the same, true and null are none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value)


def _ids(raw: pd.DataFrame, column: str | None, where: str) -> np.ndarray:
    """Return the ids of all raw rows: a column of integers, or the rows' positions."""
    if column is None:
        return np.arange(len(raw), dtype=np.int64)
    ids = []
    for row, value in enumerate(raw[column]):
        key = _label_key(value)
        if key is None or not key.removeprefix("-").isdecimal():
            raise UserError(
                f"{where}: row {row}: id column '{column}' holds {value!r}, not an integer; "
                "leave 'id' out to number the rows by position"
            )
        ids.append(int(key))
    seen = pd.Series(ids)
    if seen.duplicated().any():
        row = int(seen.duplicated().argmax())
        raise UserError(f"{where}: row {row}: id {ids[row]} appears twice")
    return np.array(ids, dtype=np.int64)


def _texts(values: pd.Series, kept: np.ndarray, where: str) -> pd.Series:
    """Check that the kept rows of a column hold text; dropped rows may hold anything."""
    for row in np.flatnonzero(kept):
        value = values.iat[row]
        if not isinstance(value, str) or not value.strip():
            what = "text is empty" if isinstance(value, str) else f"{value!r} is not text"
            raise UserError(f"{where}: row {row}: column '{values.name}': {what}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: row {row}: column '{values.name}': {error}") from None
    return values.astype(object).reset_index(drop=True)


def _log_counts(raw: pd.Series, labels: pd.Series, names: list[str], where: str) -> None:
    """Log rows per label and per dropped value; raises UserError for a label without rows."""
    dropped = raw.reset_index(drop=True)[labels < 0].value_counts()
    for value, count in dropped.items():
        logging.info("%s: left out %d rows with label %r", where, count, value)
    for number, name in enumerate(names):
        count = int((labels == number).sum())
        if not count:
            raise UserError(f"{where}: no row has label '{name}' ({len(labels)} rows read)")
        logging.info("%s: %d rows with label '%s'", where, count, name)


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pq.read_table(path)
    # Null integers would become floats and null strings NaN; Python's values keep both apart.
    return pd.DataFrame(
        {name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names}
    )


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: not a JSON object")
        rows.append(row)
    return _frame(path, rows)


def _read_tabs(path: Path) -> pd.DataFrame:
    return _from_records(path, enumerate((line.split("\t") for line in _lines(path)), 1))


def _read_csv(path: Path) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        return _from_records(path, ((reader.line_num, record) for record in reader))
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None


def _from_records(path: Path, records: object) -> pd.DataFrame:
    """Turn (line number, fields) into rows; the first record names the columns."""
    records = iter(records)
    _, header = next(records, (0, []))
    if len(set(header)) != len(header):
        raise UserError(f"{path}: two columns have the same name")
    rows = []
    for number, fields in records:
        if len(fields) != len(header):
            raise UserError(
                f"{path}: line {number}: {len(fields)} fields where the header has {len(header)}"
            )
        rows.append(dict(zip(header, fields, strict=True)))
    return _frame(path, rows)


def _frame(path: Path, rows: list[dict]) -> pd.DataFrame:
    if not rows:
        raise UserError(f"{path}: has no rows")
    columns = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in columns}
    )


def _lines(path: Path) -> list[str]:
    """Return the lines; only LF and CRLF end one, since text may hold other separators."""
    lines = _text(path).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")
