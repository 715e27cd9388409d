"""The one error a user can cause, and the helper that names what would have been valid."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a file system refuses for want of room or of rights."""
OF_FILES = REFUSALS[:3]
"""Those that only a file system says: a lock or a socket may be refused for want of rights."""


class UserError(Exception):
    """A mistake in the configuration, the data or the environment: one line, no traceback."""


def unknown(kind: str, name: object, valid: Iterable[object], where: str) -> UserError:
    """Return the error for a `name` that `where` (a file or key) does not define.

    The message names the nearest valid name if one is close, and else lists all of them.
    """
    names = [str(item) for item in valid]
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"valid: {', '.join(names) or 'none'}"
    return UserError(f"{where}: unknown {kind} '{name}'; {hint}")


@contextmanager
def refusals_told(outputs: Iterable[object]) -> Iterator[None]:
    """Raise what a file system refuses meanwhile as UserError that names the file.

    Where the system does not tell which one it is, the first of the `outputs` stands for it, as
    long as it can be nothing but a file.
    """
    try:
        yield
    except OSError as error:
        # Of two files, the second is the one to be written.
        path = error.filename2 or error.filename
        if error.errno not in (REFUSALS if path else OF_FILES):
            raise
        path = path or next(iter(outputs), "results")
        raise UserError(f"{path}: {os.strerror(error.errno).lower()}") from error
