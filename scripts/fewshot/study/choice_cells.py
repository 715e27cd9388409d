"""The cells among which the choices of a study choose."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Protocol

from ..data.curve_sample import curve_epochs
from .cells import Cell
from .families import family_of


class Grid(Protocol):
    """What is asked of a study: its choices, cells, and the tasks with their shots in orders."""

    choices: Mapping[str, Mapping]
    cells: Sequence[Cell]
    variants: Mapping[str, Mapping[str, Mapping[str, float]]]

    def is_held_out(self, cell: Cell) -> bool: ...
    def cell_settings(self, cell: Cell) -> dict: ...


def candidate_cells(study: Grid, choice: str) -> dict[tuple[str, str, int], list[Cell]]:
    """Return (task, model, k) → the cells that a choice can take there, in the order in which its
    methods and patterns are listed.

    With `orders`, cells with a task's shots in other orders are candidates of that task, in which
    the shots lie as they were drawn.
    """
    entry, found = study.choices[choice], defaultdict(list)
    held = [cell for cell in study.cells if study.is_held_out(cell)]
    patterns = entry.get("patterns") or dict.fromkeys(cell.pattern for cell in held)
    orders = study.variants.get("order", {}) if entry.get("orders") else {}
    drawn = {each: task for task, same in orders.items() for each in same}
    for method, pattern in product(entry["methods"], patterns):
        for cell in held:
            if (cell.method, cell.pattern) == (method, pattern):
                found[drawn.get(cell.task, cell.task), cell.model, cell.k].append(cell)
    return {place: cells for place, cells in found.items() if _offers_choice(study, cells)}


def _offers_choice(study: Grid, cells: list[Cell]) -> bool:
    """Return whether these cells are two candidates or more, by method, pattern or epoch; that some
    can be calibrated too makes no choice of settings."""
    if len(cells) > 1:
        return True
    settings = study.cell_settings(cells[0])
    if not family_of(settings).trains:
        return False
    return len(curve_epochs(settings["curve_epochs"], settings["epochs"])) > 1
