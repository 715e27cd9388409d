"""Which tasks are measured beside the one that a model is adapted to, and with which pattern."""

from typing import TYPE_CHECKING

from ..errors import UserError
from .families import family_of
from .without_model import NONE

if TYPE_CHECKING:
    from .study import Study


def trains_here(study: "Study", method: str) -> bool:
    """Return whether a method trains weights, in jobs that run here."""
    return family_of(study.methods[method]).trains


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
