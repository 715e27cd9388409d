"""Open an archive of predictions (see `archive`): check everything, then put files in their places.

Nothing of an archive is trusted: only files that its manifest lists, under names that a study's
files have, are read; all are checked before the first is placed. Snakemake goes by times: files
are dated so that no run looks older than what it was made from.
"""

import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from .. import storage
from ..data.entries import split_parts
from ..downloads import disk
from ..errors import UserError
from ..study.imports import folder_of
from ..validation import read_yaml, validate
from .archive import FORMAT, KIND, MANIFEST, REGISTRIES, HashingReader, without_texts

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
PLACES = {
    "sources": rf"results/raw/{NAME}/manifest\.json",
    "models": rf"results/models/{NAME}/manifest\.json",
    "weights": rf"results/models/{NAME}/weights\.json",
    "rows": rf"results/data/{NAME}/validation\.parquet",
    "shots": rf"results/shots/(?:{NAME}/)+k\d+/seed\d+\.parquet",
    "windows": rf"results/windows/{NAME}/{NAME}/{NAME}\.parquet",
    "unadapted": rf"results/unadapted/{NAME}/{NAME}\.parquet",
    "runs": rf"results/(?:runs|runs-held-out|runs-forgetting/{NAME}/{NAME}|held-out/{NAME})/"
    rf"(?:{NAME}/){{5}}k\d+/seeds\d+-\d+/"
    r"(?:predictions\.parquet|curves\.parquet|forgetting\.parquet|manifest\.json)",
    "study": rf"results/{NAME}/imported/(?:study|{'|'.join(REGISTRIES)})\.yaml",
}
"""What an archive may hold, in the order in which it is placed: first what others are made from."""
MADE_LAST = ("weights", "windows", "unadapted", "runs")
LARGEST_MANIFEST = 2**27
BLOCK = 2**20
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading a manifest raises that is none."""


@dataclass(frozen=True)
class Contents:
    """What an archive's manifest tells: the study, and sha256 and bytes of each file."""

    study: str
    files: dict[str, dict]


@dataclass(frozen=True)
class Imported:
    """What was done: how many files were placed, and how many were there already.

    `configuration` is the study's file, empty where the archive brings none.
    """

    study: str
    placed: int
    kept: int
    configuration: str


def import_archive(path: str | Path, root: str | Path = ".") -> Imported:
    """Check an archive and put its files below `root`, the project's folder.

    Raises UserError, before anything is placed, for an archive that is no such, of another format,
    truncated or corrupt, or that has other files than it lists, or a study that is none; where the
    disk is too small; and where a file is there already with another content.
    """
    results = Path(root, "results")
    results.mkdir(exist_ok=True)
    with _open(path) as tar, tempfile.TemporaryDirectory(prefix=".import-", dir=results) as scratch:
        contents = _read_manifest(tar, path)
        disk.check_room(sum(each["bytes"] for each in contents.files.values()), results, str(path))
        staged = _stage(tar, contents, Path(scratch), path)
        brought = f"{folder_of(contents.study)}/study.yaml"
        if brought in staged:
            _check_study(staged[brought], f"{path}: '{brought}'")
        kept = {
            name for name, file in staged.items() if _is_there(name, file, Path(root, name), path)
        }
        _place(staged, kept, Path(root))
    configuration = brought if brought in staged else ""
    return Imported(contents.study, len(staged) - len(kept), len(kept), configuration)


def _open(path: str | Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path}: not a readable archive ({error})") from None


def _members(tar: tarfile.TarFile, path: str | Path) -> Iterator[tarfile.TarInfo]:
    """Yield the members; raises UserError for anything but plain files."""
    try:
        for member in tar:
            # A sparse file of a few bytes may unpack to any size.
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise UserError(f"{path}: '{member.name}' is no plain file; not imported")
            yield member
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path}: truncated or corrupt ({error})") from None


def _read_manifest(tar: tarfile.TarFile, path: str | Path) -> Contents:
    first = next(_members(tar, path), None)
    if first is None or first.name != MANIFEST or first.size > LARGEST_MANIFEST:
        raise UserError(f"{path}: does not begin with {MANIFEST}; not an archive of predictions")
    try:
        content = json.loads(tar.extractfile(first).read())
        if content["kind"] != KIND:
            raise ValueError(f"kind is {content['kind']}")
        if content["format"] != FORMAT:
            raise UserError(
                f"{path}: format {content['format']}, but this version reads format {FORMAT}; "
                "use the version that wrote it"
            )
        study = content["study"]
        files = {
            name: {"sha256": str(entry["sha256"]), "bytes": int(entry["bytes"])}
            for name, entry in content["files"].items()
        }
    except (*UNREADABLE, OSError, tarfile.TarError) as error:
        raise UserError(f"{path}: {MANIFEST} is not readable ({error!r})") from None
    for name in (f"{folder_of(study)}/study.yaml", *files):
        if not _kind(name) or (_kind(name) == "study" and Path(name).parts[1] != study):
            raise UserError(f"{path}: '{name}' is no file of a study's results; not imported")
    return Contents(study, files)


def _kind(name: str) -> str | None:
    """Return what a file of an archive is; None: it has no business there."""
    if ".." in name.split("/"):
        return None
    return next((kind for kind, place in PLACES.items() if re.fullmatch(place, name)), None)


def _stage(
    tar: tarfile.TarFile, contents: Contents, scratch: Path, path: str | Path
) -> dict[str, Path]:
    """Extract every file into `scratch` and compare size and checksum; return name → file."""
    staged: dict[str, Path] = {}
    for member in _members(tar, path):
        if member.name == MANIFEST and not staged:
            continue
        if member.name not in contents.files or member.name in staged:
            how = "is there twice" if member.name in staged else f"is not in {MANIFEST}"
            raise UserError(f"{path}: '{member.name}' {how}; not imported")
        file = scratch / str(len(staged))
        _extract(tar, member, file, contents.files[member.name], path)
        staged[member.name] = file
    missing = sorted(set(contents.files) - set(staged))
    if missing:
        raise UserError(
            f"{path}: truncated: {len(missing)} of {len(contents.files)} files are missing, the "
            f"first one is '{missing[0]}'"
        )
    return staged


def _extract(
    tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path, entry: dict, path: str | Path
) -> None:
    if member.size != entry["bytes"]:
        raise UserError(
            f"{path}: '{member.name}' has {member.size} bytes, {MANIFEST} says {entry['bytes']}; "
            "corrupt"
        )
    reader = HashingReader(tar.extractfile(member))
    try:
        with open(file, "wb") as out:
            shutil.copyfileobj(reader, out, BLOCK)
    except tarfile.TarError as error:
        raise UserError(f"{path}: '{member.name}' is truncated ({error})") from None
    if reader.count != entry["bytes"] or reader.digest.hexdigest() != entry["sha256"]:
        raise UserError(f"{path}: '{member.name}' is not what {MANIFEST} says; corrupt")


def _check_study(file: Path, where: str) -> None:
    """Raise UserError for a study that has a key which no study has.

    Of a configuration with `__use_yte__` Snakemake runs parts as Python, before any code of ours.
    """
    try:
        content = read_yaml(file)
    except UserError as error:
        raise UserError(f"{where}{str(error).removeprefix(str(file))}") from None
    validate(content, "study", where)


def _is_there(name: str, staged: Path, place: Path, path: str | Path) -> bool:
    """Return whether the project has the file already; raises UserError for another content."""
    if not place.exists():
        return False
    if not _same(_kind(name), staged, place):
        raise UserError(
            f"{place}: differs from the one in {path}; move it away to take the archive's"
        )
    return True


def _same(kind: str, ours: Path, theirs: Path) -> bool:
    """Return whether two files tell the same, however they were written."""
    if storage.sha256(ours) == storage.sha256(theirs):
        return True
    if kind in ("sources", "models"):
        return _fetched(ours) == _fetched(theirs)
    if kind == "rows":
        ours, theirs = (without_texts(storage.read_table(file)) for file in (ours, theirs))
        return ours.astype(object).equals(theirs.astype(object))
    return kind in ("shots", "windows") and pq.read_table(ours).equals(pq.read_table(theirs))


def _fetched(manifest: Path) -> object:
    """Return what was fetched, but not where it lies."""
    content = storage.read_json(manifest)
    files = {
        name: [part.get("sha256") for part in split_parts(entry)]
        for name, entry in content.get("files", {}).items()
    }
    return {**content, "path": None, "files": files}


def _place(staged: dict[str, Path], kept: set[str], root: Path) -> None:
    """Put the files in their places, a run's manifest last, and date them.

    What is new is dated now, and so is what was there but is made from other files: had one of
    those been missing, it would look newer. Only sources are dated back to the oldest rows that
    were there, which other runs may have been made from.
    """
    now = time.time_ns()
    rows = [Path(root, name).stat().st_mtime_ns for name in kept if _kind(name) == "rows"]
    dates = {"sources": min([now, *rows])}
    order = list(PLACES)

    def turn(name: str) -> tuple:
        return order.index(_kind(name)), name.endswith("/manifest.json"), name

    for name in sorted(staged, key=turn):
        place, kind = root / name, _kind(name)
        if name not in kept:
            place.parent.mkdir(parents=True, exist_ok=True)
            _move(staged[name], place)
        if name not in kept or kind in MADE_LAST:
            os.utime(place, ns=(dates.get(kind, now), dates.get(kind, now)))


def _move(file: Path, place: Path) -> None:
    try:
        os.replace(file, place)
    except OSError:  # Parts of results/ may lie on other disks.
        with storage.atomic(place) as partial:
            shutil.copyfile(file, partial)
