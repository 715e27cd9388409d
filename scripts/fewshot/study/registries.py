"""The registries of config/: models, tasks, methods, patterns, texts, prices, figures; entries with
a base."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..errors import UserError, unknown
from ..validation import mistake, read_schema, read_yaml, shipped_folder, validate

REGISTRIES = ("models", "tasks", "methods", "patterns", "texts", "prices", "figures")
FIGURES = ("figures", "tables")
"""The parts of the registry of figures."""
NOT_ARCHIVED = ("figures", "prices", "texts")
"""Registries that no result depends on, or which archives without `forgetting` do not bring."""


def load_registries(folder: str | Path) -> dict[str, dict]:
    """Read the registries under `folder` and return them checked, defaults filled in."""
    paths = {name: path_of(name, folder) for name in REGISTRIES}
    return {name: checked_entries(name, read_yaml(path), str(path)) for name, path in paths.items()}


def located(registries: Mapping[str, dict], base: Path) -> dict[str, dict]:
    """Return registries whose entries name local files and folders from where Python runs: a path
    that is relative to `base`."""

    def found(path):
        return str(base / Path(path).expanduser())

    def moved(entry: dict) -> dict:
        files = {
            split: [*map(found, path)] if isinstance(path, list) else found(path)
            for split, path in entry["source"]["local"].items()
        }
        return {**entry, "source": {**entry["source"], "local": files}}

    if base == Path():
        return dict(registries)
    models = {
        name: {**entry, "local": found(entry["local"])} if "local" in entry else entry
        for name, entry in registries.get("models", {}).items()
    }
    rows = {
        kind: {
            name: moved(entry) if "local" in [*entry["source"]] else entry
            for name, entry in registries.get(kind, {}).items()
        }
        for kind in ("tasks", "texts")
    }
    kinds = {"models": models, **rows}
    return {kind: kinds.get(kind, entries) for kind, entries in registries.items()}


def checked_entries(
    name: str, content: dict[str, dict], where: str, there: Mapping[str, dict] | None = None
) -> dict[str, dict]:
    """Return the entries of a registry checked, with defaults and what their bases say; bases may
    be entries that are `there` already.

    `name` is that of the registry. Raises UserError, beginning with `where`.
    """
    there = there or {}
    if name == "tasks":
        # Before defaults are filled in, which would hide what the base says.
        wrong = mistake(content, read_schema(name), where)
        if wrong:
            raise wrong
        content = _only(content, derived_tasks({**there, **content}, where))
    content = validate(content, name, where)
    if name == "methods":
        content = _only(content, _inherit({**there, **content}, where))
    return content


def _only(names: Iterable[str], entries: Mapping[str, dict]) -> dict[str, dict]:
    return {name: entries[name] for name in names}


def path_of(name: str, folder: str | Path) -> Path:
    """Return the file of a registry under `folder`."""
    path = Path(folder, f"{name}.yaml")
    if name in NOT_ARCHIVED and not path.exists():  # An imported study brings none.
        return shipped_folder() / f"{name}.yaml"
    return path


DERIVED = ("base", "title", "draw", "verbalizers", "out_of_domain", "probes")
"""What a task with a `base` may state: its prepared rows are those of its base."""


def derived_tasks(tasks: dict[str, dict], where: str) -> dict[str, dict]:
    """Return tasks whose `base` is resolved: with all keys, the first task of the line as `base`,
    and its source by name.

    Raises UserError for an unknown base, a cycle, and a key in which a task differs from its base
    though both have the same rows.
    """
    found = {}
    for name, entry in tasks.items():
        if "base" not in entry:
            found[name] = entry
            continue
        *_, first = _ancestors(name, tasks, where, "task")
        source = tasks[first]["source"]
        rows = {**tasks[first], "source": source if isinstance(source, str) else first}
        for key, value in entry.items():
            if key not in DERIVED and value != rows.get(key):
                raise UserError(
                    f"{where}: task '{name}': '{key}' is that of its base '{first}', whose rows it "
                    f"has; valid: {', '.join(DERIVED)}"
                )
        settings = _resolved(name, tasks, where, "task")
        found[name] = {**settings, "source": rows["source"], "base": first}
        draw: dict[str, object] = {}
        for ancestor in reversed(list(_ancestors(name, tasks, where, "task"))):
            draw |= tasks[ancestor].get("draw", {})
        if draw:  # Factors combine.
            found[name]["draw"] = draw
    return found


REPLACED = {"epochs": "steps", "steps": "epochs", "optimizer": "scale_parameter"}
"""A method's setting → the one of its base that an entry with the former does not inherit."""


def _inherit(methods: dict[str, dict], where: str) -> dict[str, dict]:
    """Resolve `base` entries; raises UserError for an unknown base, a cycle, and two lengths."""
    for name, entry in methods.items():
        if "epochs" in entry and "steps" in entry:
            both = f"{where}: method '{name}': 'epochs' and 'steps' both say how long training is"
            raise UserError(f"{both}; valid: one of them")
    return {name: _resolved(name, methods, where, "method") for name in methods}


def _resolved(name: str, entries: dict[str, dict], where: str, kind: str) -> dict:
    chain = list(_ancestors(name, entries, where, kind))
    settings: dict = {}
    for entry in reversed(chain):
        for key in entries[entry]:
            settings.pop(REPLACED.get(key), None)
        settings.update(entries[entry])
    settings.pop("base", None)
    if "title" not in entries[name]:
        settings.pop("title", None)
    return settings


def _ancestors(name: str, entries: dict[str, dict], where: str, kind: str) -> Iterator[str]:
    seen = []
    while name is not None:
        if name in seen:
            raise UserError(f"{where}: {kind}s inherit in a cycle: {' → '.join([*seen, name])}")
        if name not in entries:
            raise unknown(f"base {kind}", name, entries, f"{where}: {seen[-1]}.base")
        seen.append(name)
        yield name
        name = entries[name].get("base")
