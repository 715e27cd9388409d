"""Keep the finished seeds of a running job, so that an interrupted job does not repeat them.

Snakemake deletes the declared outputs of an incomplete job; this state is never declared. It lies
in a folder named by a fingerprint of all that changes the result, so a job whose settings changed
finds an empty folder. A lock keeps a second writer out.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..storage import damaged_file, write_checksums
from .locks import Lock

LOG = logging.getLogger(__name__)

STATE = Path("results/state")
"""Where the finished seeds of running jobs are kept, relative to the project's folder."""
WRITE_RATE = 2e8
"""Bytes that a process writes in a second, until that has been measured."""
LOCK = "lock"
OWNER = "owner.json"
"""What a state says about the run that it belongs to; nothing of it is resumed."""


@dataclass(frozen=True)
class FinishedSeed:
    """What is stored of one finished seed."""

    frames: dict[str, pd.DataFrame]
    info: dict
    files: dict[str, Path]


def fingerprint(params: dict, checksums: dict, world_size: int, threads: int) -> str:
    """Return the name of a job's state: a hash of everything that changes its bytes.

    `params` are plain settings (code version and cell included), `checksums` those of the inputs.
    Raises TypeError for a value that JSON does not know.
    """
    parts = {"params": params, "checksums": checksums, "processes": world_size, "threads": threads}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


class SeedStore:
    """The finished seeds of one job; made by `SeedStore.open`, valid while its lock is held."""

    def __init__(self, folder: Path, lock: Lock):
        self.folder = folder
        self._lock = lock

    @classmethod
    @contextmanager
    def open(
        cls, root: str | Path, name: str, owner: Mapping | None = None
    ) -> Iterator["SeedStore"]:
        """Open the state `name` (a fingerprint) under `root` for this process alone.

        `owner` says whose it is; `read_owner` returns it while there is anything in the state.
        Raises UserError where another live process holds it.
        """
        folder = Path(root, name)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with Lock(folder / LOCK) as lock:
                for rest in folder.glob("*.partial"):
                    LOG.info("removing %s, left by an interrupted write", rest)
                    shutil.rmtree(rest)
                _write_owner(folder, owner or {})
                try:
                    yield cls(folder, lock)
                finally:
                    if not any(folder.glob("seed*")):
                        (folder / OWNER).unlink(missing_ok=True)
        finally:
            with suppress(OSError):
                folder.rmdir()  # where nothing is left in it

    def has(self, seed: int | str) -> bool:
        """Return whether the seed is finished; one whose files have changed is dropped."""
        path = self._path(seed)
        if not path.is_dir():
            return False
        damaged = damaged_file(path)
        if damaged:
            LOG.warning("%s: %s is damaged; the seed is done again", path, damaged)
            remove(path)
        return not damaged

    def save(
        self,
        seed: int | str,
        frames: dict[str, pd.DataFrame],
        info: dict,
        files: dict[str, Callable[[Path], None]] | None = None,
    ) -> None:
        """Store a finished seed: all of it or, when interrupted, nothing.

        A part of seed 3, which is kept until that is stored itself, is named "3.…". `files` maps
        file names to functions that write the file to the path they are given.
        """
        partial = self.folder / f"seed{seed}.partial"
        partial.mkdir()
        for name, frame in frames.items():
            frame.to_parquet(partial / f"{name}.parquet", compression="zstd")
        (partial / "info.json").write_text(json.dumps(info, sort_keys=True), "utf-8")
        (partial / "files").mkdir()
        for name, write in (files or {}).items():
            write(partial / "files" / name)
        write_checksums(partial)
        for path in [*partial.rglob("*"), partial]:
            sync(path)
        self.check()
        partial.rename(self._path(seed))
        sync(self.folder)
        for path in self.folder.glob(f"seed{seed}.*"):
            remove(path)

    def load(self, seed: int | str) -> FinishedSeed:
        """Return a finished seed; frames come back as they were saved, dtypes included."""
        path = self._path(seed)
        frames = {file.stem: pd.read_parquet(file) for file in sorted(path.glob("*.parquet"))}
        files = {file.name: file for file in sorted((path / "files").iterdir())}
        return FinishedSeed(frames, json.loads((path / "info.json").read_text("utf-8")), files)

    def discard(self) -> None:
        """Remove the finished seeds, once the outputs are assembled from them."""
        for path in sorted(self.folder.glob("seed*")):
            remove(path)

    def check(self) -> None:
        """Raise UserError where another process has taken this state over."""
        self._lock.check()

    def _path(self, seed: int | str) -> Path:
        return self.folder / f"seed{seed}"


def read_owner(folder: Path) -> dict:
    """Return what was said of a state's owner; nothing where an older version made the state."""
    try:
        return json.loads((folder / OWNER).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _write_owner(folder: Path, owner: Mapping) -> None:
    partial = folder / f"{OWNER}.new"
    partial.write_text(json.dumps(owner, sort_keys=True), "utf-8")
    partial.replace(folder / OWNER)


def remove(path: Path) -> None:
    """Remove a folder of the state; renamed first, so that half of one cannot pass for one."""
    shutil.rmtree(path.rename(path.with_name(f"{path.name}.partial")))


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
