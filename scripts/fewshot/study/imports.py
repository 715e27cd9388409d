"""What a study exchanges with other places: runs made elsewhere, and the entries it takes along.

Read while Snakemake builds its graph: nothing here opens a log.
"""

from collections.abc import Mapping
from dataclasses import asdict
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, unknown
from ..storage import read_json
from .cells import IMPORTED, Job
from .without_model import NONE

if TYPE_CHECKING:
    from .study import Study


def folder_of(study: str) -> str:
    """Return where the configuration of a study that came in an archive lies."""
    return f"results/{study}/imported"


def is_archived(registries: str, root: Path = Path()) -> bool:
    """Return whether registries came in an archive, with manifests of what they name; `results/` is
    in `root`."""
    folder = (root / registries).resolve()
    return folder == (root / folder_of(folder.parent.name)).resolve()


def check_imported(study: "Study", where: str) -> None:
    """Check the cells whose results were made elsewhere, and those of their runs that are there.

    Raises UserError for a pattern whose scores logs do not tell, and for a run whose prompts were
    compared with something else than its method's entry says.
    """
    for job in imported_jobs(study):
        method, pattern = job.cell.method, job.cell.pattern
        rank_by, wanted = study.patterns[pattern]["rank_by"], study.methods[method]["prompts"]
        if study.scores_texts(pattern):
            raise UserError(
                f"{where}: grid: pattern '{pattern}' scores texts behind label words (rank_by: "
                f"channel), which the logs behind method '{method}' do not tell; valid: rank_by: "
                "sum or characters"
            )
        if rank_by == "mean":
            raise UserError(
                f"{where}: grid: pattern '{pattern}' ranks by the mean over tokens, whose number "
                f"the logs behind method '{method}' do not tell; name one with rank_by: sum"
            )
        if rank_by == "characters" and wanted == "any":
            raise UserError(
                f"{where}: grid: pattern '{pattern}' ranks by the characters of its label words, "
                f"and method '{method}' has prompts: any, whose logs may have other words; valid: "
                "prompts: stored or pattern"
            )
        path, said = study.places.at(f"results/runs/{job.folder}/manifest.json"), ""
        if path.is_file():
            said = read_json(path).get("settings", {}).get("prompts")
        if said not in ("", wanted):
            raise UserError(
                f"{path}: its prompts were compared as '{said}', but "
                f"{study.file('methods', method)} has '{wanted}' for method '{method}'; remove "
                "the run and convert its logs again"
            )


def imported_jobs(study: "Study") -> list[Job]:
    """Return the jobs whose results are made elsewhere."""
    return [job for job in study.jobs if study.is_imported(job.cell.method)]


def find_logs(study: "Study", told: str | Mapping[str, str]) -> dict[Job, dict[int, list[str]]]:
    """Return the logs of lm-evaluation-harness by job and seed, in the order of evaluation sets.

    `told` are paths with {protocol}, {task}, {model}, {method}, {pattern}, {k}, {seed} and {set} in
    place of these, and * and ** as in a shell; or such paths by evaluation set. Jobs without any
    log are left out. Raises UserError where that are all, and unless the others have exactly one
    for each seed and set.
    """
    jobs = imported_jobs(study)
    if not jobs:
        raise UserError(f"study '{study.name}' has no method of family {IMPORTED} in its grid")
    if not told:
        raise UserError("no logs named; valid: snakemake convert_lm_eval --config lm_eval=<paths>")
    names = {name for job in jobs for name in study.scored_sets(job.cell.task)}
    for name in told if isinstance(told, Mapping) else ():
        if name not in names:
            raise unknown("evaluation set", name, names, "lm_eval")
    found = {}
    for job in jobs:
        places = _places(study, job, told)
        files = {place: sorted(glob(place, recursive=True)) for place in set().union(*places)}
        if any(files.values()):
            for place, paths in files.items():
                if len(paths) != 1:
                    raise UserError(
                        f"lm_eval: {job.folder}: '{place}' names {len(paths)} files; "
                        "valid: exactly one"
                    )
            logs = [[files[place][0] for place in row] for row in places]
            found[job] = dict(zip(job.seeds, logs, strict=True))
    if not found:
        raise UserError(
            f"lm_eval: '{next(iter(_places(study, jobs[0], told)[0]), '')}' names 0 files"
        )
    return found


def _places(study: "Study", job: Job, told: str | Mapping[str, str]) -> list[list[str]]:
    """Return where the logs of each seed should be, in the order of evaluation sets."""
    sets = study.scored_sets(job.cell.task)
    paths = told if isinstance(told, Mapping) else dict.fromkeys(sets, told)
    for name in sets:
        if name not in paths:
            raise UserError(f"lm_eval: {job.cell.folder}: no log of evaluation set '{name}'")
    return [
        [_filled(paths[name], {**asdict(job.cell), "seed": seed, "set": name}) for name in sets]
        for seed in job.seeds
    ]


def _filled(path: str, values: Mapping[str, object]) -> str:
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", str(value))
    return path


def used_entries(study: "Study") -> dict[str, dict[str, dict]]:
    """Return registry → name → entry of all that a study refers to, defaults filled in.

    The tasks include those whose rows or labels others name.
    """
    names = {
        kind: dict.fromkeys(getattr(cell, kind) for cell in study.cells)
        for kind in ("model", "method", "pattern")
    }
    for name in names["method"]:
        trained_with = study.methods[name].get("train_patterns", ())
        names["pattern"] |= {each: None for each in trained_with if each in study.patterns}
    elsewhere = study.forgetting
    tasks, todo = {}, list(dict.fromkeys(cell.task for cell in study.cells))
    todo += elsewhere.tasks if elsewhere else ()
    while todo:
        name = todo.pop(0)
        if name not in tasks:
            tasks[name] = study.tasks[name]
            todo += [
                study.source_of(name),
                study.rows_of(name),
                *_named(tasks[name]["out_of_domain"]),
                *_named(tasks[name]["probes"]),
            ]
    entries = {
        f"{kind}s": {n: getattr(study, f"{kind}s")[n] for n in names[kind] if n != NONE}
        for kind in names
    }
    texts = {name: study.texts[name] for name in elsewhere.texts} if elsewhere else {}
    return {**entries, "tasks": tasks, **({"texts": texts} if texts else {})}


def travelling_settings(study: "Study") -> dict:
    """Return a study's settings as an archive has them, with the figures and tables of its own that
    it draws: those of config/ are there wherever it goes."""
    own = {
        kind: {name: entry for name, entry in entries.items() if name in study.places.own[kind]}
        for kind, entries in (("figures", study.figures), ("tables", study.tables))
        if kind in study.places.own
    }
    own = {kind: entries for kind, entries in own.items() if entries}
    return {**study.settings, **({"define": own} if own else {})}


def _named(told: list | dict) -> list[str]:
    """Return the sets that a key of a task's entry names, under any protocol."""
    lists = told.values() if isinstance(told, dict) else [told]
    return [each if isinstance(each, str) else each["set"] for items in lists for each in items]
