"""How much room there is on a disk, how much files take, and how that is said."""

import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..formatting import size_text

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
            f"{where}: needs {size_text(need, exact=True)} in {folder}, where "
            f"{size_text(free, exact=True)} are free; {HINT}"
        )


def check_budget(need: int, budget: Budget, where: str) -> None:
    """Raise UserError, beginning with `where`, if `need` bytes more are over the budget."""
    if not need or not budget.gigabytes:
        return
    there = used(budget.root)
    if there + need > budget.gigabytes * 1e9:
        raise UserError(
            f"{where}: needs {size_text(need, exact=True)} in {budget.root}, which holds "
            f"{size_text(there, exact=True)} of at most {budget.gigabytes:g} GB (disk_budget_gb); "
            f"{HINT}"
        )


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Raise what a file system refuses meanwhile as UserError that begins with `where`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{where}: {error}") from None
