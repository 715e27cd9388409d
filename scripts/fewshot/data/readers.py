"""Read raw tables in any of the formats: Parquet, JSON lines, CSV and tab-separated text."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import UserError, unknown
from ..storage import read_json, sha256
from .entries import split_parts


def raw_files(manifest_path: str | Path, split: str) -> list[Path]:
    """Return the raw files of a split, in order; UserError where one is not what was fetched."""
    manifest = read_json(manifest_path, "source", "kind", "files")
    where = f"source '{manifest['source']}'"
    if split not in manifest["files"]:
        raise unknown("raw split", split, manifest["files"], where)
    local = manifest["kind"] == "local"
    paths = []
    for part in split_parts(manifest["files"][split]):
        path = Path(part["path"]) if local else Path(manifest_path).parent / part["path"]
        if not path.is_file():
            there = "put it back" if local else f"remove {manifest_path}"
            raise UserError(f"{where}: split '{split}': file {path} is gone; {there}")
        if sha256(path) != part["sha256"]:
            raise UserError(
                f"{where}: split '{split}': {path} changed since it was fetched; remove "
                f"{manifest_path}"
            )
        paths.append(path)
    return paths


def read_split(paths: Sequence[Path], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read the files of a split, one behind the other, as `read_raw` does.

    Raises UserError where one has other columns than the first.
    """
    frames = [read_raw(path, columns) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if set(frame.columns) != set(frames[0].columns):
            raise UserError(
                f"{path}: its columns are {', '.join(frame.columns)}, those of {paths[0]} are "
                f"{', '.join(frames[0].columns)}; files of one split must have the same"
            )
    return pd.concat(frames, ignore_index=True)


def read_raw(path: str | Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table by its extension: .parquet, .jsonl, .tsv, .csv, or .txt (tab-separated).

    `columns` name those of a tsv, txt or csv file without a header. All columns have dtype
    object. Text is never interpreted: "NA" and "null" are words, values of tsv, csv and txt are
    strings, and quotes in tsv and txt are part of the text. Raises UserError naming the file, the
    line and what is wrong.
    """
    path = Path(path)
    readers = {
        ".parquet": _read_parquet,
        ".jsonl": _read_jsonl,
        ".tsv": partial(_read_tabs, columns=columns),
        ".txt": partial(_read_tabs, columns=columns),
        ".csv": partial(_read_csv, columns=columns),
    }
    if path.suffix not in readers:
        raise unknown("file extension", path.suffix, readers, str(path))
    if columns and not isinstance(readers[path.suffix], partial):
        raise UserError(f"{path}: 'columns' is for files without names: .tsv, .txt or .csv")
    with _unreadable_told(path):
        return readers[path.suffix](path)


def read_plain(path: str | Path) -> str:
    """Return the text of a file, with LF at the end of each line; raises UserError as `read_raw`
    does."""
    path = Path(path)
    with _unreadable_told(path):
        return "\n".join(_lines(path))


@contextmanager
def _unreadable_told(path: Path) -> Iterator[None]:
    """Raise UserError, which names the file, for what keeps it from being read."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from None
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pq.read_table(path)
    # Null integers would become floats and null strings NaN; Python's values keep both apart.
    return pd.DataFrame(
        {name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names}
    )


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: not a JSON object")
        rows.append(row)
    return _frame(path, rows)


def _read_tabs(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    # A line without anything has no fields at all, as one of a CSV file.
    records = (line.split("\t") if line else [] for line in _lines(path))
    return _from_records(path, enumerate(records, 1), columns)


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        return _from_records(path, ((reader.line_num, record) for record in reader), columns)
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None


def _from_records(
    path: Path, records: Iterable[tuple[int, list[str]]], columns: Sequence[str]
) -> pd.DataFrame:
    """Turn (line number, fields) into rows; without `columns` the first record names them.

    Blank lines, which editors and spreadsheets leave, are no records.
    """
    records, names = ((number, fields) for number, fields in records if fields), "'columns'"
    header = list(columns)
    if not header:
        (_, header), names = next(records, (0, [])), "the header"
    if len(set(header)) != len(header):
        raise UserError(f"{path}: two columns have the same name")
    rows = []
    for number, fields in records:
        if len(fields) != len(header):
            raise UserError(
                f"{path}: line {number}: {len(fields)} fields where {names} has {len(header)}"
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
    """Return the lines; only LF and CRLF end one, since text may hold other separators.

    CR alone does in a file that has no LF at all, as Excel for Mac saves text.
    """
    text = _text(path)
    lines = text.split("\n" if "\n" in text else "\r")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")
