"""Files of the pipeline: Parquet and JSON in and out, whole or not at all, and checksums."""

import glob
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import REFUSALS, UserError


def write_table(path: str | Path, frame: pd.DataFrame, schema: pa.Schema, **metadata: str) -> None:
    """Write `frame` to `path` (zstd, atomically) with exactly the columns of `schema`.

    Raises ValueError for a missing or surplus column and for a null where none is allowed.
    """
    surplus = set(frame.columns) - set(schema.names)
    missing = set(schema.names) - set(frame.columns)
    if surplus or missing:
        raise ValueError(f"{path}: surplus columns {surplus or '{}'}, missing {missing or '{}'}")
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)


def read_table(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file; dictionary columns come back as categories.

    Raises UserError where the file is missing or no Parquet, and where a page of it has changed
    since `write_table` wrote it.
    """
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True).to_pandas()
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except (OSError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable Parquet file ({cause})") from None


def read_rows(path: str | Path) -> pd.DataFrame:
    """Read prepared rows (ROWS); raises UserError where they were imported without texts."""
    rows = read_table(path)
    if "text_a" not in rows:
        raise UserError(
            f"{path}: it was imported, without its texts; to run models here, remove the folders "
            "results/data, results/raw and results/models, run `snakemake data` and import again"
        )
    return rows


@contextmanager
def atomic(path: str | Path):
    """Yield a name beside `path` to write to; rename it to `path` only on success.

    What a writer of the same file left that was killed meanwhile is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # Libraries name no file, or the unfinished one, of which nothing will be left.
        named = (error.filename, error.filename2)
        if error.errno in REFUSALS and (named[0] is None or str(partial) in map(str, named)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # It would hide the first error.
            partial.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write a manifest: sorted keys, atomically."""
    with atomic(path) as partial:
        partial.write_text(
            json.dumps(content, indent=2, sort_keys=True, default=str) + "\n", "utf-8"
        )


def read_json(path: str | Path, *keys: str) -> dict:
    """Read a manifest written by `write_json`.

    Raises UserError where there is none, and for one that lacks one of `keys`.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable JSON ({error})") from None
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise UserError(
                f"{path}: '{key}' is missing; remove the file, and Snakemake makes it again"
            )
    return content


def sha256(path: str | Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums_of(*paths: str | Path) -> dict[str, str]:
    """Return the sha256 of files, by name, as a manifest beside them holds it."""
    return {Path(path).name: sha256(path) for path in paths}


CHECKSUMS = "checksums.json"
"""The file in a folder that holds the sha256 of all others in it."""


WHOLE = slice(None)


def folder_checksums(folder: Path, share: slice = WHOLE) -> dict[str, str]:
    """Return the sha256 of a folder's files by relative name, or of a share of them in order."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths[share]}


def write_checksums(folder: Path, sums: dict[str, str] | None = None) -> None:
    """Write the checksums of all files of a folder beside them; found here if not given."""
    sums = folder_checksums(folder) if sums is None else sums
    (folder / CHECKSUMS).write_text(json.dumps(sums, sort_keys=True), "utf-8")


def damaged_file(folder: Path, share: slice = WHOLE) -> str | None:
    """Return a file of a folder that is not as `write_checksums` found it; None: all are.

    With `share` only a part of the files is read again.
    """
    try:
        sums = sorted(json.loads((folder / CHECKSUMS).read_text("utf-8")).items())
        return next(
            (name for name, expected in sums[share] if sha256(folder / name) != expected), None
        )
    except OSError as error:  # gone, or no longer readable
        return Path(error.filename or CHECKSUMS).name
    except (ValueError, AttributeError, TypeError):
        return CHECKSUMS


def frame_checksum(rows: Iterable[Iterable[object]]) -> str:
    """Return a checksum of row values, independent of file format and library version."""
    text = "\n".join("\t".join(map(str, row)) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
