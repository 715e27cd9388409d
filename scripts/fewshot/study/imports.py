"""What a study exchanges with other places: runs made elsewhere, and the entries it takes along.

Read while Snakemake builds its graph: nothing here opens a log or imports pandas.
"""

from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, unknown
from .cells import Cell

if TYPE_CHECKING:
    from .study import Study

FAMILY = "imported"
"""The method family of results made elsewhere."""


@dataclass(frozen=True)
class Import:
    """A cell whose results lm-evaluation-harness wrote.

    `samples` gives each evaluation set's log of samples, with {seed} where the seeds have files of
    their own, and * and ** as in a shell. `prompts` says what the prompts are checked against.
    """

    cell: Cell
    seeds: tuple[int, ...]
    samples: dict[str, str]
    prompts: str

    def pattern(self, name: str, seed: int) -> str:
        """Return where the log of one evaluation set and seed should be."""
        return self.samples[name].replace("{seed}", str(seed))

    def file(self, name: str, seed: int) -> str:
        """Return the log's path, or the pattern itself unless exactly one file matches."""
        pattern = self.pattern(name, seed)
        found = sorted(glob(pattern, recursive=True))
        return found[0] if len(found) == 1 else pattern


def folder_of(study: str) -> str:
    """Return where the configuration of a study that came in an archive lies."""
    return f"results/{study}/imported"


def is_archived(registries: str) -> bool:
    """Return whether registries came in an archive, with manifests of what they name."""
    study = Path(registries).resolve().parent.name
    return Path(registries).resolve() == Path(folder_of(study)).resolve()


def read_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of "first-last", or of a single number, in order."""
    first, _, last = text.partition("-")
    return tuple(range(int(first), int(last or first) + 1))


def read_imports(settings: dict) -> tuple[Import, ...]:
    """Return the imports of a study's settings."""
    keys = ("task", "model", "method", "pattern", "k")
    return tuple(
        Import(
            Cell(settings["protocol"], *(entry[key] for key in keys)),
            read_seeds(entry["seeds"]),
            entry["samples"],
            entry["prompts"],
        )
        for entry in settings.get("imports", ())
    )


def check_imports(study: "Study", where: str) -> None:
    """Raise UserError for an import that names what is not there, or is not complete."""
    for block in study.settings["grid"]:
        for method in block["methods"]:
            if method in study.methods and study.is_imported(method):
                raise UserError(
                    f"{where}: grid: method '{method}' is of family imported, which nothing here "
                    "runs; name it under imports"
                )
    _check_names(study, where)
    seen = set()
    for each in study.imports:
        at = f"{where}: imports: {each.cell.folder}"
        if not study.is_imported(each.cell.method):
            raise UserError(
                f"{where}: imports: method '{each.cell.method}' is of family "
                f"{study.methods[each.cell.method]['family']}; give results made elsewhere a "
                "method of family imported"
            )
        if each.cell in seen:
            raise UserError(f"{at} is given twice; name its seeds in one entry")
        seen.add(each.cell)
        _check_import(study, each, at)


def _check_names(study: "Study", where: str) -> None:
    for entry in study.settings.get("imports", []):
        for kind in ("method", "model", "task", "pattern"):
            registry = getattr(study, f"{kind}s")
            if entry[kind] not in registry:
                raise unknown(kind, entry[kind], registry, f"{where}: imports")


def _check_import(study: "Study", each: Import, at: str) -> None:
    sets = study.evaluation_sets(each.cell.task)
    for name in each.samples:
        if name not in sets:
            raise unknown("evaluation set", name, sets, f"{at}: samples")
    missing = [name for name in sets if name not in each.samples]
    if missing:
        raise UserError(f"{at}: samples: no log of evaluation set '{missing[0]}'")
    if not each.seeds or (each.cell.k == 0 and each.seeds != (0,)):
        raise UserError(f"{at}: seeds: valid: first-last, and 0 alone where k = 0")
    if study.patterns[each.cell.pattern]["rank_by"] == "mean":
        raise UserError(
            f"{at}: pattern '{each.cell.pattern}' ranks by the mean over tokens, whose number the "
            "logs do not tell; name a pattern with rank_by: sum"
        )
    for name, pattern in each.samples.items():
        if len(each.seeds) > 1 and "{seed}" not in pattern:
            raise UserError(f"{at}: samples: {name}: '{pattern}' needs {{seed}} for several seeds")
        for seed in () if _is_there(each) else each.seeds:
            found = len(glob(each.pattern(name, seed), recursive=True))
            if found != 1:
                raise UserError(
                    f"{at}: samples: {name}: '{each.pattern(name, seed)}' names {found} files; "
                    "valid: exactly one"
                )


def _is_there(each: Import) -> bool:
    """Return whether the cell has been read already, perhaps on another machine."""
    return any(Path("results/runs", each.cell.folder).glob("seeds*/manifest.json"))


def used_entries(study: "Study") -> dict[str, dict[str, dict]]:
    """Return registry → name → entry of all that a study refers to, defaults filled in.

    The tasks include those whose rows or labels others name.
    """
    names = {
        kind: dict.fromkeys(getattr(cell, kind) for cell in study.cells)
        for kind in ("model", "method", "pattern")
    }
    tasks, todo = {}, list(dict.fromkeys(cell.task for cell in study.cells))
    while todo:
        name = todo.pop(0)
        if name not in tasks:
            tasks[name] = study.tasks[name]
            todo += [study.source_of(name), *_named(tasks[name]["out_of_domain"])]
    entries = {
        f"{kind}s": {n: getattr(study, f"{kind}s")[n] for n in names[kind]} for kind in names
    }
    return {**entries, "tasks": tasks}


def _named(out_of_domain: list | dict) -> list[str]:
    """Return the sets that a task's entry names, under any protocol."""
    lists = out_of_domain.values() if isinstance(out_of_domain, dict) else [out_of_domain]
    return [each if isinstance(each, str) else each["set"] for items in lists for each in items]
