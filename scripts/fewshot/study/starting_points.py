"""Where the training of a cell starts, if not from the model alone: from the adapters that another
method has trained on other tasks of the study (setting `start_from`).

No task counts on whose rows a cell is tested: its own, its out-of-domain sets, and every task that
has their prepared rows or their source, nor one whose adapters have themselves started from such.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from .cells import Cell
from .families import read_settings

OTHERS = "others"
"""All other tasks of the grid, as the value of `start_from.tasks`."""


class Grid(Protocol):
    """What is asked of a study: its cells, registries, and which rows a task has."""

    cells: Sequence[Cell]
    methods: Mapping[str, Mapping]
    tasks: Mapping[str, Mapping]

    def factors_of(self, task: str) -> Mapping: ...
    def evaluation_sets(self, task: str) -> list[str]: ...
    def rows_of(self, task: str) -> str: ...
    def source_of(self, task: str) -> str: ...


def source_tasks(study: Grid, cell: Cell) -> list[str]:
    """Return the tasks whose adapters a cell starts from, as named or in the order of the grid.

    Of the grid's others those count whose shots no factor of the data changes: their rows are those
    of another task of the grid.
    """
    start = study.methods[cell.method]["start_from"]
    if start["tasks"] == OTHERS:
        used = dict.fromkeys(each.task for each in study.cells)
        named = [task for task in used if not study.factors_of(task)]
    else:
        named = start["tasks"]
    return [task for task in named if _is_apart(study, cell, source_cell(study, cell, task))]


def source_cell(study: Grid, cell: Cell, task: str) -> Cell:
    """Return the cell whose adapters of a task a cell starts from."""
    start = study.methods[cell.method]["start_from"]
    return replace(cell, task=task, method=start["method"], k=start["k"])


def source_cells(study: Grid, cell: Cell) -> list[Cell]:
    """Return the cells whose adapters a cell starts from; none where it starts from the model."""
    if "start_from" not in read_settings(study.methods[cell.method]):
        return []
    return [source_cell(study, cell, task) for task in source_tasks(study, cell)]


def _is_apart(study: Grid, cell: Cell, source: Cell) -> bool:
    """Return whether nothing that a source was trained on is what a cell is tested on."""
    tested = study.scored_sets(cell.task)
    return not any(
        _has_same_rows(study, task, each) for task in _learned(study, source) for each in tested
    )


def _learned(study: Grid, cell: Cell) -> Iterator[str]:
    """Yield the tasks that a cell's weights were trained on: its own, and those of its start."""
    yield cell.task
    for source in source_cells(study, cell):
        yield from _learned(study, source)


def _has_same_rows(study: Grid, one: str, other: str) -> bool:
    if study.rows_of(one) == study.rows_of(other):
        return True
    sources = [study.source_of(study.rows_of(task)) for task in (one, other)]
    return sources[0] == sources[1] or (
        study.tasks[sources[0]]["source"] == study.tasks[sources[1]]["source"]
    )
