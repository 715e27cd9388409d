"""One archive of all that tables and figures are made from, without texts, models and weights.

A plain tar (its Parquet files are compressed already) whose first member, MANIFEST.json, names
every file with its size and sha256. The same study gives the same bytes: members are sorted, their
times and owners fixed.
"""

import hashlib
import io
import json
import logging
import platform
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import yaml

from .. import schemas, storage
from ..downloads import disk
from ..errors import UserError
from ..study.imports import folder_of

LOG = logging.getLogger(__name__)

MANIFEST = "MANIFEST.json"
KIND, FORMAT = "fairshot predictions", 3
EPOCH = 315532800
"""1980-01-01: the time of every member."""
REGISTRIES = ("models", "tasks", "methods", "patterns", "texts")
RUNS = (
    *("results/runs/", "results/runs-held-out/", "results/runs-forgetting/"),
    "results/held-out/",
)
"""Where the manifests of runs lie."""
PACKAGES = ("numpy", "pandas", "pyarrow", "snakemake")

TEXTLESS = pa.schema(
    [
        *(field for field in schemas.ROWS if not field.name.startswith("text_")),
        schemas.column("texts", pa.string(), "checksum of the row's texts"),
    ]
)
"""Evaluation rows as they travel: their texts have licences of their own."""


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name there, where it lies, and what it holds."""

    name: str
    path: Path
    sha256: str
    bytes: int


def export_study(
    path: str | Path, settings: dict, entries: dict, files: Iterable[str], rows: Iterable[str]
) -> None:
    """Write the archive of a finished study.

    `settings` and `entries` (registry → name → entry) are the study's configuration; `files` travel
    as they are, and so do the tables that each run's manifest among them tells of; of `rows`
    (schemas.ROWS) the texts stay behind. Raises UserError as `write_archive` does.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as scratch:
        made = _write_made(Path(scratch), settings, entries, rows)
        names = {name for file in files for name in _with_run(file)}
        write_archive(path, settings["study"], {**{name: Path(name) for name in names}, **made})


def write_archive(path: str | Path, study: str, files: Mapping[str, Path]) -> None:
    """Write an archive of `files`: the name of each in a project → where it lies now.

    Raises UserError for a file that is missing or changes meanwhile, and where the disk has too
    little room.
    """
    path = Path(path)
    members = [_member(name, files[name]) for name in sorted(files)]
    disk.check_room(sum(each.bytes for each in members), path.parent, str(path))
    with storage.atomic(path) as partial:
        _write_tar(partial, members, study)
    LOG.info("%d files, %d bytes in %s", len(members), path.stat().st_size, path)


def without_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows (schemas.ROWS) with a checksum in the place of their texts (TEXTLESS)."""
    if "texts" in rows:  # They came from an archive themselves.
        return rows
    pairs = zip(rows["text_a"], rows["text_b"], strict=True)
    sums = [storage.frame_checksum([[a, "" if b is None else b]]) for a, b in pairs]
    return rows.assign(texts=sums)[TEXTLESS.names]


def _with_run(file: str) -> list[str]:
    """Return a file's name and, for the manifest of a run, those of the tables that it tells of."""
    if not file.startswith(RUNS):
        return [file]
    # Names alone: a manifest that came from elsewhere must not name a file of this machine.
    names = [Path(name).name for name in storage.read_json(file, "files")["files"]]
    return [file, *(f"{Path(file).parent}/{name}" for name in names)]


def _write_made(
    scratch: Path, settings: dict, entries: dict, rows: Iterable[str]
) -> dict[str, Path]:
    """Write what is made for the archive; return name → file."""
    made, folder = {}, folder_of(settings["study"])
    for number, name in enumerate(rows):
        made[name] = scratch / f"rows{number}.parquet"
        storage.write_table(made[name], without_texts(storage.read_table(name)), TEXTLESS)
    for name, content in {"study": {**settings, "registries": folder}, **entries}.items():
        made[f"{folder}/{name}.yaml"] = scratch / f"{name}.yaml"
        # Plain JSON types: what Snakemake passes may be subclasses, which YAML refuses.
        plain = json.loads(json.dumps(content))
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        made[f"{folder}/{name}.yaml"].write_text(text, encoding="utf-8")
    return made


def _member(name: str, path: Path) -> Member:
    if not path.is_file():
        raise UserError(f"{path}: file not found; the study is incomplete")
    return Member(name, path, storage.sha256(path), path.stat().st_size)


def archive_manifest(members: Iterable[Member], study: str) -> dict:
    """Return the archive's manifest."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "study": study,
        "made_with": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "files": {each.name: {"sha256": each.sha256, "bytes": each.bytes} for each in members},
    }


def _write_tar(path: Path, members: list[Member], study: str) -> None:
    content = (
        json.dumps(archive_manifest(members, study), indent=1, sort_keys=True).encode() + b"\n"
    )
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_info(MANIFEST, len(content)), io.BytesIO(content))
        for each in members:
            with open(each.path, "rb") as file:
                reader = HashingReader(file)
                try:
                    tar.addfile(_info(each.name, each.bytes), reader)
                except OSError as error:
                    raise UserError(f"{each.path}: cannot be read ({error})") from None
            if reader.digest.hexdigest() != each.sha256:
                raise UserError(f"{each.path}: changed while it was exported; start again")


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, EPOCH, 0o644
    return info


class HashingReader:
    """A file whose sha256 is taken while it is read; `count` are the bytes read so far."""

    def __init__(self, file):
        self.file, self.digest, self.count = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        block = self.file.read(size)
        self.digest.update(block)
        self.count += len(block)
        return block
