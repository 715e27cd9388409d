"""Tasks of a study that differ in one factor of the data alone."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .cells import Cell

VARIED = ("flip", "order")
"""Factors of the data by whose values tasks are shown together."""


class Grid(Protocol):
    """What is asked of a study: its cells, its tasks, and what changes their rows."""

    cells: Sequence[Cell]
    tasks: Mapping[str, Mapping]

    def factors_of(self, task: str) -> Mapping: ...
    def rows_of(self, task: str) -> str: ...


def variants_of(study: Grid) -> dict[str, dict[str, dict[str, float]]]:
    """Return factor ("flip", "order") → task → the study's tasks that differ from it in that factor
    alone, with its value in each, in ascending order; 0 in the task itself."""
    used = dict.fromkeys(cell.task for cell in study.cells)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for factor in VARIED:
        for task in used:
            if factor in study.factors_of(task):
                continue
            rest = _without(study, task, factor)
            alike = [each for each in used if _without(study, each, factor) == rest]
            values = {each: study.factors_of(each).get(factor, 0) for each in alike}
            if any(values.values()):
                ordered = sorted(values.items(), key=lambda item: item[1])
                found.setdefault(factor, {})[task] = dict(ordered)
    return found


def _without(study: Grid, task: str, factor: str) -> tuple:
    """Return all that a task is told, but for its title and one factor."""
    rest = {key: value for key, value in study.factors_of(task).items() if key != factor}
    told = (study.tasks[task][key] for key in ("verbalizers", "out_of_domain", "probes"))
    return study.rows_of(task), rest, *told
