"""The commits that stand for branches and tags: `config/revisions.yaml`, committed with the rest.

Written at the first download of an entry that is not pinned, read by every later one, on whatever
machine. Params of rules never hold it, so that nothing runs again where it gains an entry.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import yaml

from ..errors import UserError
from ..runtime.locks import exclusive
from ..storage import atomic, read_json
from ..validation import CONFIG, read_yaml, validate

FILE = CONFIG / "revisions.yaml"
HEADER = """\
# The commits that branches and tags of models.yaml, tasks.yaml and texts.yaml stood for at their
# first download. Later downloads, here or elsewhere, take the same. Commit this file. To move on to
# a newer commit, remove an entry here and the manifest.json of what was downloaded.
"""
KINDS = {"models": "model", "sources": "source"}


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit sha, and no branch or tag."""
    return re.fullmatch("[0-9a-f]{40}", revision) is not None


def read(path: Path | None = None) -> dict[str, dict]:
    """Return the entries by kind and name; none where there is no file, or nothing in it.

    Raises UserError where the file is not as `config/schema/revisions.yaml` has it.
    """
    path = path or FILE
    content = read_yaml(path, empty=True) if path.is_file() else {}
    # Who removes the last entry of a kind leaves its key without a value.
    given = {key: entries for key, entries in content.items() if entries is not None}
    return validate(given, "revisions", str(path))


def commit_of(kind: str, name: str, entry: Mapping, resolve: Callable[[], str]) -> str:
    """Return the commit of an entry with hub and revision: pinned, locked, or resolved and locked.

    `kind` is models or sources. `resolve` asks the Hub; it is called only where the file has no
    commit for this repository and revision. An entry of another revision is replaced. Raises
    UserError where the file cannot be read or written.
    """
    if is_commit(entry["revision"]):
        return entry["revision"]
    found = _own(read(), kind, name, entry)
    return found or _write(kind, name, entry, _shared(read(), kind, entry) or resolve())


def check_manifests(kind: str, entries: Mapping[str, Mapping], folder: str | Path) -> None:
    """Compare what was downloaded with the file.

    `entries` of models.yaml, or sources of tasks.yaml, by name; `folder` has a manifest for each
    that was fetched. Raises UserError for the first that has another commit than the file.
    """
    locked = read()
    for name, entry in entries.items():
        commit, path = _own(locked, kind, name, entry), Path(folder, name, "manifest.json")
        if not commit or is_commit(entry["revision"]) or not path.is_file():
            continue
        found = read_json(path).get("revision")
        if found != commit:
            raise UserError(
                f"{FILE}: {KINDS[kind]} '{name}' is locked to commit {commit}, but {path} has "
                f"{found}; remove that file to fetch what is locked, or put the entry back"
            )


def _own(locked: Mapping, kind: str, name: str, entry: Mapping) -> str | None:
    found = locked[kind].get(name)
    return found["commit"] if found and _same(found, entry) else None


def _shared(locked: Mapping, kind: str, entry: Mapping) -> str | None:
    """Return the commit of another name for the same repository and revision."""
    found: Iterable[Mapping] = locked[kind].values()
    return next((each["commit"] for each in found if _same(each, entry)), None)


def _same(found: Mapping, entry: Mapping) -> bool:
    return all(found[key] == entry[key] for key in ("hub", "revision"))


def _write(kind: str, name: str, entry: Mapping, commit: str) -> str:
    """Enter a commit unless another process was first; return the one that counts."""
    path = FILE
    with exclusive(path.parent):
        content = read(path)
        # Two names of one repository, resolved at once, must not differ either.
        first = _own(content, kind, name, entry) or _shared(content, kind, entry) or commit
        content[kind][name] = {**{key: entry[key] for key in ("hub", "revision")}, "commit": first}
        try:
            with atomic(path) as partial:
                partial.write_text(HEADER + yaml.safe_dump(content, sort_keys=True), "utf-8")
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error})") from None
    return first
