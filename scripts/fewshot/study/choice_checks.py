"""The checks of a study's keys `cross_validation` and `choices`."""

from typing import TYPE_CHECKING

from ..data.folds import LEAVE_ONE_OUT, PREQUENTIAL
from ..errors import UserError, unknown
from .catalog import title_of

if TYPE_CHECKING:
    from .cells import Cell
    from .study import Study


def check_choices(study: "Study", where: str) -> None:
    """Check that shots are held out somewhere, and that each choice names what the grid has and has
    something to choose; raises UserError, which begins with the study's file `where`."""
    if study.choices and study.cross_validation is None:
        raise UserError(
            f"{where}: choices: candidates are judged by shots that are held out in turn; add "
            "cross_validation"
        )
    held = [cell for cell in study.cells if study.is_held_out(cell)]
    if study.cross_validation is not None and not held:
        raise UserError(
            f"{where}: cross_validation: no cell of the grid shows shots or trains on them, so "
            "that none are held out; leave it out"
        )
    titles: dict[str, str] = {}
    for name in study.choices:
        at = f"{where}: choices.{name}"
        title = title_of(name, study.choices)
        if title in titles:
            raise UserError(f"{at}: title: choice '{titles[title]}' is called '{title}' too")
        titles[title] = name
        _check_names(study.choices[name], held, at)
        if study.choices[name].get("orders") and "order" not in study.variants:
            raise UserError(
                f"{at}: orders: no task of the grid has its shots in several orders; add tasks "
                "with draw: {order: n} of a task of the grid, or leave it out"
            )
        places = study.candidate_cells(name)
        if not places:
            raise UserError(
                f"{at}: fewer than two candidates at every task, model and number of shots, "
                "contextual calibration apart; add methods, patterns or epochs of a learning curve"
            )
        for (task, model, k), cells in places.items():
            _check_alike(study, cells, f"{at}: task '{task}', model '{model}', k = {k}")


def _check_names(entry: dict, held: "list[Cell]", at: str) -> None:
    """Check that the grid has each method of a choice with each pattern that it lists."""
    for kind in ("methods", "patterns"):
        known = dict.fromkeys(getattr(cell, kind[:-1]) for cell in held)
        for each in entry.get(kind, ()):
            if each not in known:
                raise unknown(kind[:-1], each, known, f"{at}.{kind}")
    arms = {(cell.method, cell.pattern) for cell in held}
    for method in entry["methods"]:
        for pattern in entry.get("patterns", ()):
            if (method, pattern) not in arms:
                raise UserError(
                    f"{at}: no cell of the grid has method '{method}' with pattern '{pattern}'; "
                    "leave patterns out to take all that there are"
                )


def _check_alike(study: "Study", cells: "list[Cell]", at: str) -> None:
    """Check that candidates can be compared: the same draws, and label words on one scale."""
    first, read = cells[0], {}
    if study.cross_validation == PREQUENTIAL and len({cell.task for cell in cells}) > 1:
        raise UserError(
            f"{at}: orders: cross_validation: {PREQUENTIAL} holds other rows out in each order, "
            "whose probabilities cannot be compared; valid with orders: a number of folds, "
            f"{LEAVE_ONE_OUT}"
        )
    for cell in cells:
        if study.seeds_of(cell) != study.seeds_of(first):
            raise UserError(
                f"{at}: {_arm(cell)} has other seeds than {_arm(first)}; candidates need the same"
            )
        if study.methods[cell.method]["head"] == "language-model":
            read.setdefault(study.patterns[cell.pattern]["rank_by"], cell)
    if len(read) > 1:
        (one, cell), (other, another) = list(read.items())[:2]
        raise UserError(
            f"{at}: rank_by: {one} of {_arm(cell)} and {other} of {_arm(another)} put "
            "probabilities on unlike scales; list patterns of one rank_by"
        )


def _arm(cell: "Cell") -> str:
    return f"{cell.method}/{cell.pattern}"
