"""Which tasks are measured beside the one that a model is adapted to, and with which pattern."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UserError
from .families import family_of
from .without_model import NONE

if TYPE_CHECKING:
    from .cells import Cell
    from .study import Study


def trains_here(study: "Study", method: str) -> bool:
    """Return whether a method trains weights, in jobs that run here."""
    return family_of(study.methods[method]).trains


def trained_seeds(study: "Study", model: str) -> list[int]:
    """Return the seeds of all that is trained of a model."""
    trained = (cell for cell in study.own_cells if cell.model == model)
    found = (study.seeds_of(cell) for cell in trained if trains_here(study, cell.method))
    return sorted({seed for seeds in found for seed in seeds})


def measured_models(study: "Study") -> list[str]:
    """Return the models that are measured before any adaptation: those of which some are trained,
    in a study with the key `forgetting`."""
    models = study.own_models if study.forgetting else ()
    return [name for name in models if trained_seeds(study, name)]


def unadapted_file(study: "Study", model: str) -> str:
    """Return where it is stored what was measured of a model before any adaptation."""
    return f"results/unadapted/{study.name}/{model}.parquet"


def placed_as(study: "Study", model: str) -> "Cell":
    """Return the cell in whose place a model is scored as it is: one whose shots stand in one
    context, with as many as in any, or else one that is trained, for which other tasks' shots are
    planned too."""
    cells = [cell for cell in study.own_cells if cell.model == model]
    divided = study.divided_methods
    shown = [c for c in cells if study.uses_context(c.method) and c.method not in divided]
    trained = [cell for cell in cells if trains_here(study, cell.method)]
    cell = max(shown or trained, key=lambda cell: cell.k)
    return replace(cell, k=max(cell.k, *study.forgetting.k)) if shown else cell


def others_of(study: "Study", task: str) -> list[str]:
    """Return the tasks that are measured beside `task`: those that have other rows."""
    own = study.rows_of(task)
    return [name for name in study.forgetting.tasks if study.rows_of(name) != own]


def fixed_pattern(study: "Study", task: str) -> str | None:
    """Return the pattern that another task is always asked with: the study's first that has label
    words for it and ranks these, not texts behind them; None: there is none."""
    for name in dict.fromkeys(cell.pattern for cell in study.cells):
        if name == NONE or study.scores_texts(name):
            continue
        try:
            study.bind(name, task)
        except UserError:
            continue
        return name
    return None
