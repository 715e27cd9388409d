"""Fetch the raw rows of a task: from the Hub or the web, local files, or made by the generator."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub.file_download import http_get

from ..downloads import hub
from ..downloads.disk import check_room, naming
from ..downloads.hub import LogProgress, retrying
from ..errors import UserError
from ..runtime.locks import exclusive
from ..storage import atomic, sha256
from .bias_probe import PROBES, probe_rows
from .entries import as_list
from .synthetic import generate

LOG = logging.getLogger(__name__)


def fetch_file(address: str, folder: str | Path, name: str, digest: str | None, where: str) -> Path:
    """Download `address` to `folder` under `name` with the address's extension; return its path.

    `digest` is the file's sha256, if it is known: a file that has it already is kept, and one that
    arrives without it is refused. `where` names the file's user in messages. Raises UserError for
    whatever the network or the server answers instead, and for too little disk space.
    """
    path = Path(folder, name + PurePosixPath(urlsplit(address).path).suffix)
    text = f"{where}: {address}"
    if digest and path.is_file() and sha256(path) == digest:
        LOG.info("%s is already there", text)
        return path
    with atomic(path) as partial:
        for _ in range(2):
            retrying(lambda: _get(address, partial, text), text)
            actual = sha256(partial)
            if digest in (None, actual):
                LOG.info("%s: %d bytes, sha256 %s", text, partial.stat().st_size, actual)
                return path
            LOG.warning("%s: sha256 is %s, not the one stated; downloading again", text, actual)
        raise UserError(f"{text} arrived twice with sha256 {actual}, where {digest} is stated")


def _get(address: str, path: Path, text: str) -> None:
    """Download to `path`, from the start."""
    # Compressed answers have no length, so that one that was cut could not be told.
    headers = {"Accept-Encoding": "identity"}
    with open(path, "wb") as file:
        progress = _progress_if_room(path.parent, text)
        http_get(address, file, headers=headers, displayed_filename=address, tqdm_class=progress)


def _progress_if_room(folder: Path, text: str) -> Callable[..., LogProgress]:
    """Return what makes the client's progress, and looks first whether the disk has room.

    How long a file is, is known from the answer alone: the client tells it before the first byte.
    """

    def progress(*, total: int | None, **options: object) -> LogProgress:
        check_room(total or 0, folder, text)
        return LogProgress(total=total, **options)

    return progress


def fetch_source(source: dict, folder: str | Path, name: str, endpoint: str | None = None) -> dict:
    """Bring the raw files of source `name` to `folder` and return its manifest.

    `source` is the entry of config/tasks.yaml, of kind hub, url, local or synthetic. The manifest
    has source, kind, revision, and per raw split path, sha256 and bytes; paths are relative to
    `folder`, those of local files stay as the configuration has them. Raises UserError.
    """
    folder, revision = Path(folder), None
    kind = next(kind for kind in ("hub", "url", "local", "synthetic") if kind in source)
    # One source at a time: each looks first whether the disk has room for it.
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
    paths = {split: as_list(paths) for split, paths in source["files"].items()}
    fetched = hub.fetch_files(repository, chain.from_iterable(paths.values()), folder)
    files = {
        split: _entry([{"path": path, **fetched[path]} for path in paths[split]]) for split in paths
    }
    return repository.commit, files


def _fetch_web(entries: dict[str, dict | list[dict]], folder: Path, name: str) -> dict[str, dict]:
    files = {}
    for split, entry in entries.items():
        where = f"source '{name}': split '{split}'"
        parts = as_list(entry)
        names = [split] if len(parts) == 1 else [f"{split}.part{i}" for i in range(len(parts))]
        paths = [
            fetch_file(part["address"], folder, stem, part.get("sha256"), where)
            for part, stem in zip(parts, names, strict=True)
        ]
        files[split] = _entry([_facts(path, path.name) for path in paths])
    return files


def _describe_local(paths: dict[str, str | list[str]], name: str) -> dict[str, dict]:
    files = {}
    for split, entry in paths.items():
        parts = [Path(path).expanduser() for path in as_list(entry)]
        for path in parts:
            if not path.is_file():
                raise UserError(f"source '{name}': split '{split}': {path} is not a file")
        files[split] = _entry([_facts(path, str(path)) for path in parts])
    return files


def _facts(path: Path, named: str) -> dict[str, object]:
    return {"path": named, "sha256": sha256(path), "bytes": path.stat().st_size}


def _entry(parts: list[dict]) -> dict:
    """Return what a manifest says of a split (see `entries.split_parts`)."""
    return parts[0] if len(parts) == 1 else {"parts": parts}


def _generate(source: dict, folder: Path, name: str) -> dict[str, dict]:
    files, kind = {}, source["synthetic"]
    made = probe_rows if kind in PROBES else generate
    for split, size in source["sizes"].items():
        rows = made(kind, split, size, source.get("seed", 0))
        # Without pandas' metadata the bytes depend on the rows and the Parquet writer alone.
        table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
        path = folder / f"{split}.parquet"
        with atomic(path) as partial:
            pq.write_table(table, partial, compression="zstd")
        LOG.info("source '%s': made %d rows of split '%s'", name, len(rows), split)
        files[split] = _facts(path, path.name)
    return files
