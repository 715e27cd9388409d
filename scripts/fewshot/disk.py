"""How much room there is on a disk, how much files take, and how that is said."""

import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError

HINT = "`snakemake clean` shows what can be freed"
PARTIAL = ".partial"
"""The folder of unfinished downloads, beside the files."""


@dataclass(frozen=True)
class Budget:
    """What the files below `root` may take together, in 10^9 bytes (0: as much as there is)."""

    root: Path
    gigabytes: float = 0


def used(root: Path) -> int:
    """Return the bytes of all files below `root`; links are not followed."""
    size = 0
    for path in root.rglob("*"):
        with suppress(FileNotFoundError):  # A job may just have removed it.
            status = path.lstat()
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size


def check_room(need: int, folder: Path, where: str) -> None:
    """Raise UserError, beginning with `where`, unless `need` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{where}: needs {size_text(need)} in {folder}, where {size_text(free)} are free; "
            f"{HINT}"
        )


def check_budget(need: int, budget: Budget, where: str) -> None:
    """Raise UserError, beginning with `where`, if `need` bytes more are over the budget."""
    if not need or not budget.gigabytes:
        return
    there = used(budget.root)
    if there + need > budget.gigabytes * 1e9:
        raise UserError(
            f"{where}: needs {size_text(need)} in {budget.root}, which holds {size_text(there)} "
            f"of at most {budget.gigabytes:g} GB (disk_budget_gb); {HINT}"
        )


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Raise what a file system refuses meanwhile as UserError that begins with `where`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{where}: {error}") from None


def size_text(size: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.2f} {unit}"
    return f"{size} bytes"
