"""What a method and a cell need whose training starts from adapters of other tasks (`start_from`).

Each check raises UserError with one line, which begins with where the mistake is.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import UserError, unknown
from ..prompts.contexts import trained_behind
from .families import TRAINING, Family, family_of, read_settings
from .starting_points import OTHERS, source_cells

if TYPE_CHECKING:
    from .study import Cell, Study

DENSE = ("ties", "dare-linear", "dare-ties")
"""Combinations that keep a share of the values (`density`)."""
WEIGHTED = ("linear", *DENSE)
"""Combinations that multiply what each task has changed (`weight`)."""
INITIAL = ("initialisation", "initial_text", "start_from")
FREE = {*TRAINING, *INITIAL, "loss", "keep_weights", "dropout"}
"""Settings in which two methods may differ whose trained tensors mean the same."""


def check_start_method(study: "Study", settings: Mapping, where: str) -> None:
    """Check what `start_from` says of a method, whatever the grid: that the other one trains
    tensors of the same meaning and keeps them."""
    family = family_of(settings)
    start = settings.get("start_from")
    if settings.get("epochs") == 0 and start is None:
        raise UserError(
            f"{where}: epochs: 0 scores what a method starts from, which without start_from is the "
            "model alone; valid: 1 or more"
        )
    if start is None:
        return
    where = f"{where}: start_from"
    if not family.trains:
        raise UserError(f"{where}: family '{settings['family']}' does not train; leave it out")
    read = read_settings(settings)
    if trained_behind(read) == "all" or "unlabelled_rows" in read:
        raise UserError(
            f"{where}: what family '{settings['family']}' trains here begins as the shots, or is "
            "taught by the model that it begins as; leave it out"
        )
    if start["method"] not in study.methods:
        raise unknown("method", start["method"], study.methods, where)
    _check_alike(study, settings, start["method"], where)
    _check_combination(start, family, where)
    for task in () if start["tasks"] == OTHERS else start["tasks"]:
        if task not in study.tasks:
            raise unknown("task", task, study.tasks, f"{where}.tasks")


def _check_alike(study: "Study", settings: Mapping, name: str, where: str) -> None:
    """Check that a method's adapters are what another one can start from."""
    source, family = study.methods[name], family_of(settings)
    wanted = family.fuses or settings["family"]
    if source["family"] != wanted:
        raise UserError(
            f"{where}: method '{name}' is of family '{source['family']}'; valid here: {wanted}"
        )
    for each, head in (("", settings["head"]), (f"method '{name}': ", source["head"])):
        if head != "language-model":
            raise UserError(
                f"{where}: {each}head: {head} is trained for the labels of one task; valid: "
                "language-model"
            )
    if source.get("keep_weights") is False and "keep_weights" in family_of(source).settings:
        raise UserError(
            f"{where}: method '{name}' keeps no weights; valid: a method with keep_weights: true"
        )
    for key in family_of(source).settings:
        if key not in FREE and source.get(key) != settings.get(key):
            raise UserError(
                f"{where}: method '{name}' has {key}: {source.get(key)}, this one "
                f"{settings.get(key)}; valid: the same"
            )


def _check_combination(start: Mapping, family: Family, where: str) -> None:
    """Check that each setting of a combination has something to act on."""
    how = start.get("combine", "mean")
    for key, users in (("density", DENSE), ("weight", WEIGHTED)):
        if key in start and how not in users:
            raise UserError(
                f"{where}: {key}: combine is {how}, which has none; valid with combine: "
                f"{' or '.join(users)}"
            )
    if how in DENSE and "density" not in start:
        raise UserError(f"{where}: 'density' is missing for combine: {how}")
    if family.fuses and "combine" in start:
        raise UserError(
            f"{where}: combine: this family keeps the adapters of several tasks apart; leave it out"
        )


def check_no_cycle(study: "Study") -> None:
    """Check that no method starts from itself by way of others."""
    for name in study.methods:
        seen = [name]
        while (start := study.methods.get(seen[-1], {}).get("start_from")) is not None:
            if start["method"] in seen:
                raise UserError(
                    f"{study.file('methods', name)}: method '{name}': start_from: methods start "
                    f"from each other in a cycle: {' → '.join([*seen, start['method']])}"
                )
            seen.append(start["method"])


def check_start(study: "Study", cell: "Cell", where: str) -> None:
    """Check that the grid has the cells which a cell starts from, with its seeds; `where` is the
    study's file."""
    if "start_from" not in study.method_settings(cell.method, cell.model):
        return
    begin = f"{where}: grid: method '{cell.method}' on task '{cell.task}'"
    sources = source_cells(study, cell)
    if not sources:
        start = study.methods[cell.method]["start_from"]["tasks"]
        raise UserError(
            f"{begin} has no task to start from (start_from.tasks: "
            f"{start if start == OTHERS else ', '.join(start)}): none may have rows that it is "
            f"tested on; valid: tasks apart from {', '.join(study.scored_sets(cell.task))}"
        )
    for source in sources:
        if source not in study.cells:
            raise UserError(
                f"{begin} starts from the cell {source.folder}, which no block has; add method "
                f"'{source.method}' with task '{source.task}', model '{source.model}', pattern "
                f"'{source.pattern}' and k: {source.k}, or name other tasks (start_from.tasks in "
                f"{study.file('methods', cell.method)})"
            )
        missing = sorted({*study.seeds_of(cell)} - {*study.seeds_of(source)})
        if missing:
            raise UserError(
                f"{begin} starts from the cell {source.folder}, which has no seed {missing[0]}; "
                "valid: blocks with the same seeds"
            )
