"""The checks of texts, and of a study's key `forgetting`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..data.entries import as_list
from ..errors import UserError, unknown
from .other_tasks import fixed_pattern, others_of, trains_here
from .task_checks import check_draw, check_local_files, check_train

if TYPE_CHECKING:
    from .study import Study


def check_texts(study: "Study") -> None:
    """Check every text of the registry; raises UserError with one line."""
    for name, entry in study.texts.items():
        where = f"{study.file('texts', name)}: text '{name}'"
        if name in study.tasks:
            raise UserError(f"{where}: a task has this name too; choose another")
        kind = next(key for key in ("files", "url", "local") if key in entry["source"])
        parts = [part for split in entry["source"][kind].values() for part in as_list(split)]
        paths = [part["address"] if kind == "url" else part for part in parts]
        plain = [path for path in paths if Path(path).suffix == ".txt"]
        if "field" not in entry and len(plain) < len(paths):
            raise UserError(f"{where}: 'field' is missing, the column with the text")
        if "field" in entry and plain:
            raise UserError(
                f"{where}: field: a .txt file has no columns, but a blank line between documents; "
                "leave it out"
            )


def check_forgetting(study: "Study", where: str, archived: bool) -> None:
    """Check the key `forgetting` of a study; raises UserError, which names the study's file."""
    elsewhere, at = study.forgetting, f"{where}: forgetting"
    if elsewhere is None:
        return
    if not elsewhere.texts and not elsewhere.tasks:
        raise UserError(f"{at}: nothing is named; valid: text, tasks, or both")
    trained = {cell.task for cell in study.own_cells if trains_here(study, cell.method)}
    if not trained:
        raise UserError(
            f"{at}: no method of the grid trains, and in-context learning changes no weights; "
            "leave it out"
        )
    for name in elsewhere.texts:
        if name not in study.texts:
            raise unknown("text", name, study.texts, f"{at}.text")
        _check_files(study, name, archived)
    if not elsewhere.tasks and any(elsewhere.k):
        raise UserError(f"{at}.k: counts shots of other tasks, and none is named under tasks")
    for name in elsewhere.tasks:
        if name not in study.tasks:
            raise unknown("task", name, study.tasks, f"{at}.tasks")
        if not any(name in others_of(study, task) for task in trained):
            raise UserError(
                f"{at}.tasks: '{name}' has the rows that every model is adapted to; valid: other "
                "tasks than the grid's, or several tasks in the grid"
            )
        if fixed_pattern(study, name) is None:
            patterns = dict.fromkeys(cell.pattern for cell in study.own_cells)
            raise UserError(
                f"{at}.tasks: no pattern of the study ({', '.join(patterns)}) has label words for "
                f"task '{name}'; valid: tasks with a verbalizer that one of them names"
            )
        for count in filter(None, elsewhere.k):
            _check_shots(study, name, count, at)


def _check_shots(study: "Study", name: str, k: int, at: str) -> None:
    """Check that k shots of a task can be drawn, as far as its entry tells."""
    check_train(study, name, f"{at}.k")
    if study.factors_of(name):
        raise UserError(
            f"{at}.tasks: '{name}' changes its shots (draw); valid with k > 0: its base "
            f"'{study.rows_of(name)}'"
        )
    check_draw(study, name, k, at)


def _check_files(study: "Study", name: str, archived: bool) -> None:
    """Check that the local files of a text are there."""
    made = study.places.at(f"results/raw/{name}/manifest.json").exists()
    if study.places.as_module or (archived and made):
        return
    where = f"{study.file('texts', name)}: text '{name}'"
    check_local_files(study.texts[name]["source"], where)
