"""How much room there is on a disk, and what a file system refuses, said in one line."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..formatting import size_text

HINT = "`snakemake clean` and `hf cache` show what can be freed"


def check_room(need: int, folder: Path, where: str) -> None:
    """Raise UserError, beginning with `where`, unless `need` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{where}: needs {size_text(need, exact=True)} in {folder}, where "
            f"{size_text(free, exact=True)} are free; {HINT}"
        )


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Raise what a file system refuses meanwhile as UserError that begins with `where`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{where}: {error}") from None
