"""Fetch the raw rows of a task: from the Hub or the web, local files, or made by the generator."""

import logging
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..downloads import hub
from ..downloads.disk import naming
from ..errors import UserError
from ..records import atomic, sha256
from ..runtime.exclusion import exclusive
from .synthetic import generate
from .web import fetch_file

LOG = logging.getLogger(__name__)


def fetch(source: dict, folder: str | Path, name: str, endpoint: str | None = None) -> dict:
    """Bring the raw files of source `name` to `folder` and return its manifest.

    `source` is the entry of config/tasks.yaml, of kind hub, url, local or synthetic. The manifest
    has source, kind, revision, and per raw split path, sha256 and bytes; paths are relative to
    `folder`, those of local files stay as the configuration has them. Raises UserError.
    """
    folder, revision = Path(folder), None
    kind = next(kind for kind in ("hub", "url", "local", "synthetic") if kind in source)
    # One source at a time: each looks first whether the disk has room for it. And a clean up finds
    # the lock held while there are unfinished files.
    alone = nullcontext() if kind == "local" else exclusive(folder.parent)
    with naming(f"source '{name}'"), alone:
        if kind == "hub":
            revision, files = _fetch_hub(source, folder, name, endpoint)
        elif kind == "url":
            files = _fetch_web(source["url"], folder, name)
        elif kind == "local":
            files = _describe_local(source["local"], name)
        else:
            files = _generate(source, folder, name)
    return {"source": name, "kind": kind, "revision": revision, "files": files}


def _fetch_hub(
    source: dict, folder: Path, name: str, endpoint: str | None
) -> tuple[str, dict[str, dict]]:
    repository = hub.open_locked("sources", name, source, endpoint)
    fetched = hub.fetch_files(repository, source["files"].values(), folder)
    files = {split: {"path": path, **fetched[path]} for split, path in source["files"].items()}
    return repository.commit, files


def _fetch_web(entries: dict[str, dict], folder: Path, name: str) -> dict[str, dict]:
    files = {}
    for split, entry in entries.items():
        where = f"source '{name}': split '{split}'"
        path = fetch_file(entry["address"], folder, split, entry.get("sha256"), where)
        files[split] = {"path": path.name, "sha256": sha256(path), "bytes": path.stat().st_size}
    return files


def _describe_local(paths: dict[str, str], name: str) -> dict[str, dict]:
    files = {}
    for split, path in paths.items():
        if not Path(path).is_file():
            raise UserError(f"source '{name}': split '{split}': {path} is not a file")
        size = Path(path).stat().st_size
        files[split] = {"path": str(path), "sha256": sha256(path), "bytes": size}
    return files


def _generate(source: dict, folder: Path, name: str) -> dict[str, dict]:
    files = {}
    for split, size in source["sizes"].items():
        rows = generate(source["synthetic"], split, size, source.get("seed", 0))
        # Without pandas' metadata the bytes depend on the rows and the Parquet writer alone.
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
        path = folder / f"{split}.parquet"
        with atomic(path) as partial:
            pq.write_table(table, partial, compression="zstd")
        LOG.info("source '%s': made %d rows of split '%s'", name, len(rows), split)
        files[split] = {"path": path.name, "sha256": sha256(path), "bytes": path.stat().st_size}
    return files
