"""What a cell's jobs compute, told from a study's settings: for the memory plan, and for times."""

from typing import TYPE_CHECKING

from ..analysis import flops
from ..models.blueprints import Architecture
from ..study.trainable import CONTEXT_FAMILIES, added, trainable
from . import timing
from .memory import LONGEST_ROW, Demand

if TYPE_CHECKING:
    from ..study.cells import Cell
    from ..study.plan import Study

ELEMENT = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""


def demand_of(
    study: "Study", shape: Architecture, task: str, model: str, method: str, k: int, kind: str
) -> Demand:
    """Return what the jobs of a model of this shape compute on a kind of device, "cpu" or "gpu"."""
    entry, settings = study.models[model], study.method_settings(method, model)
    labels, window = len(study.tasks[task]["labels"]), entry["window"]
    family, virtual = settings["family"], settings.get("virtual_tokens", 0)
    shown = family in CONTEXT_FAMILIES
    return Demand(
        shape=shape,
        element=ELEMENT[entry["dtype"]],
        trainable=trainable(shape, settings, labels),
        added=added(shape, settings, labels),
        rows=0 if shown else min(settings["batch_size"], k),
        row=min(window, LONGEST_ROW + virtual),
        context=min(window, k * LONGEST_ROW) if shown else virtual,
        batch_tokens=study.settings["batch_tokens"][kind],
        backward=family != "head_only",
    )


def model_of(study: "Study", shape: Architecture, cell: "Cell", kind: str) -> timing.Model:
    """Return what is run of a cell on a kind of device."""
    demand = demand_of(study, shape, cell.task, cell.model, cell.method, cell.k, kind)
    size, settings = flops.size_of(shape), study.method_settings(cell.method, cell.model)
    answer = flops.head(size, settings, len(study.tasks[cell.task]["labels"]))
    return timing.Model(size, demand, settings, answer)
