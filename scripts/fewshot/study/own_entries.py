"""Entries that a study brings in its own file, under the key `define`, beside those of config/."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..validation import validate
from .registries import FIGURES, checked_entries, located, path_of


@dataclass(frozen=True)
class Places:
    """Where the entries of a study stand: in the registries of `folder` or in the study's `file`,
    which defines those named in `own` (registry → names).

    `results/` is in `root`. Used `as_module` of another workflow, that is the prefix, and rules
    of that workflow may make the files that entries name.
    """

    folder: str = "config"
    file: str = ""
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    root: Path = Path()
    as_module: bool = False

    def at(self, path: str | Path) -> Path:
        """Return where a file of the project is, for Python to open: Snakemake puts a module's
        prefix before the paths of rules, but not before those in code."""
        return self.root / path

    def of(self, registry: str, name: str = "") -> str:
        """Return where an entry stands, for messages to name: a registry's file, or the key of the
        study's file."""
        if name in self.own.get(registry, ()):
            return f"{self.file}: define.{registry}"
        return str(path_of("figures" if registry in FIGURES else registry, self.folder))


def with_own(registries: Mapping[str, dict], own: Mapping[str, dict], places: Places) -> dict:
    """Return registries with the entries of a study's own, which are checked by the same schemas.

    `own` is the study's key `define`. A figure or table of a name that is there already is changed
    in what the study states; nothing else may have a name that is there, since studies share the
    runs that carry it. Raises UserError, which names the study's file and key.
    """
    added = {
        kind: _new(kind, entries, registries[kind], places)
        for kind, entries in own.items()
        if kind not in FIGURES
    }
    # Jobs run below the prefix of a module, and the study's paths are not relative to that.
    added = located(added, Path() if places.root == Path() else Path.cwd())
    added = {kind: {**registries[kind], **entries} for kind, entries in added.items()}
    figures = _with_own_figures(registries["figures"], own, f"{places.file}: define")
    return {**registries, **added, "figures": figures}


def _new(kind: str, entries: dict, there: Mapping[str, dict], places: Places) -> dict[str, dict]:
    """Return a registry's own entries, checked; raises UserError for a name that is `there`."""
    where = f"{places.file}: define.{kind}"
    for name in entries:
        if name in there:
            raise UserError(
                f"{where}: '{name}' is in {path_of(kind, places.folder)} already, and studies "
                "share results by name; choose another name"
            )
    return checked_entries(kind, entries, where, there)


def _with_own_figures(there: Mapping[str, dict], own: Mapping[str, dict], where: str) -> dict:
    """Return figures and tables with a study's own, and those that it changes."""
    stated = {kind: own.get(kind, {}) for kind in FIGURES}
    changed = {
        kind: {name: _changed(there[kind].get(name, {}), entry) for name, entry in entries.items()}
        for kind, entries in stated.items()
    }
    checked = validate(changed, "figures", where)
    return {kind: {**there[kind], **checked[kind]} for kind in FIGURES}


def _changed(entry: dict, stated: dict) -> dict:
    """Return a figure's entry with what a study states of it, options one by one."""
    changed = {**entry, **stated}
    if isinstance(stated.get("options"), dict):  # Anything else is a mistake, told by the schema.
        changed["options"] = {**entry.get("options", {}), **stated["options"]}
    return changed
