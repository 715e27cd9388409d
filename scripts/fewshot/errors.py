"""The one error a user can cause, and the helper that names what would have been valid."""

import difflib
from collections.abc import Iterable


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
