"""Whether each setting that a method's own entry states is read by anything."""

from collections.abc import Mapping

from ..errors import UserError
from .families import family_of, readable_settings


def check_own_settings(
    entries: Mapping[str, dict], methods: Mapping[str, dict], where: str
) -> None:
    """Check that no entry states what neither its method nor one based on it reads.

    `entries` are those of the file `where`, `methods` the same with what they inherit. Raises
    UserError for the first setting that changes nothing.
    """
    read = {name: _accepted(settings) for name, settings in methods.items()}
    for name, entry in entries.items():
        used = set().union(*(read[each] for each in _based_on(name, entries)))
        unread = [key for key in entry if key not in {"title", "base", *used}]
        if unread:
            settings = methods[name]
            raise UserError(
                f"{where}: method '{name}': {unread[0]}: family '{settings['family']}' with head "
                f"'{settings['head']}' has no such setting; valid: "
                f"{', '.join(sorted(read[name] - {'family', 'head'}))}"
            )


def _accepted(settings: Mapping) -> set[str]:
    """Return the settings that a method may state: those read, and those of one value alone."""
    return readable_settings(settings) | {*family_of(settings).fixed}


def _based_on(name: str, entries: Mapping[str, dict]) -> list[str]:
    """Return a method and all that inherit from it, directly or not."""
    found = [name]
    for each in found:
        found += [other for other, entry in entries.items() if entry.get("base") == each]
    return found
