"""The memory plan of a study: for each adaptation job where it runs and what that takes.

Computed while Snakemake builds its graph, from architectures, settings and the machine alone.
Nothing of it changes a result: all of it travels as resources.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from .architecture import of_entry
from .blueprints import Architecture
from .cells import CHUNK
from .choice import Choice, choose
from .costs import step_cost
from .machine import Machine, read_machine
from .memory import GIB, LONGEST_ROW, Demand
from .trainable import added, trainable

if TYPE_CHECKING:
    from .plan import Cell, Study

MB = 10**6
ELEMENT = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
WITHOUT_CHECKPOINTS = ("in_context", "head_only", "prefix_tuning")
"""Families that keep no activations of layers, or whose learned keys and values, which transformers
gives to layers as a cache, exclude computing activations again."""


class MemoryPlan:
    """Chooses once for all jobs that take the same memory.

    `site` has the machine's facts where a cluster's user wrote them down; the study's go before.
    """

    def __init__(self, study: "Study", site: Mapping[str, float] | None = None):
        self.study = study
        self._site = site or {}
        self._shapes: dict[str, Architecture] = {}
        self._choices: dict[tuple, Choice] = {}
        self._resources: dict[tuple, dict] = {}

    @cached_property
    def machine(self) -> Machine:
        """Return the machine that jobs are planned for."""
        return read_machine({**self._site, **self.study.machine})

    def check(self) -> None:
        """Choose for every cell; raises UserError for one that fits nowhere on the machine."""
        for cell in self.study.own_cells:
            self.choice(cell.task, cell.model, cell.method, cell.k)

    def choice(self, task: str, model: str, method: str, k: int) -> Choice:
        """Return the cheapest configuration of a cell's jobs."""
        settings = self.study.methods[method]
        labels = len(self.study.tasks[task]["labels"])
        rows = min(settings.get("batch_size", 0), k) or k
        key = (model, method, labels, rows)
        if key not in self._choices:
            self._choices[key] = choose(
                self.demand(task, model, method, k),
                self.machine,
                0 if self.study.uses_context(method) else settings["batch_size"],
                settings["family"] not in WITHOUT_CHECKPOINTS,
                f"config/models.yaml: model '{model}' with method '{method}' and k = {k}",
            )
        return self._choices[key]

    def demand(self, task: str, model: str, method: str, k: int) -> Demand:
        """Return what a cell's jobs compute."""
        entry, settings = self.study.models[model], self.study.method_settings(method, model)
        labels = len(self.study.tasks[task]["labels"])
        shape, window = self.shape(model), entry["window"]
        family, virtual = settings["family"], settings.get("virtual_tokens", 0)
        tokens = self.study.settings["batch_tokens"]
        shown = self.study.uses_context(method)
        return Demand(
            shape=shape,
            element=ELEMENT[entry["dtype"]],
            trainable=trainable(shape, settings, labels),
            added=added(shape, settings, labels),
            rows=0 if shown else min(settings["batch_size"], k),
            row=min(window, LONGEST_ROW + virtual),
            context=min(window, k * LONGEST_ROW) if shown else virtual,
            batch_tokens=tokens["gpu" if self.machine.has_gpu else "cpu"],
            backward=family != "head_only",
        )

    def shape(self, model: str) -> Architecture:
        """Return a model's architecture."""
        if model not in self._shapes:
            self._shapes[model] = of_entry(self.study.models[model])
        return self._shapes[model]

    def resources(self, cell: "Cell", attempt: int) -> dict[str, object]:
        """Return the resources of a cell's jobs at an attempt (from 1), by name.

        `mem_mb` and `predicted_gpu_mb` are in 10^6 bytes, of a node and of a GPU; the latter is
        what PyTorch allocates. Each attempt asks for more host memory and time, in the same place:
        elsewhere, what the attempt before has finished could not be continued.
        """
        key = (cell.task, cell.model, cell.method, cell.k, attempt)
        if key not in self._resources:
            choice = self.choice(*key[:-1])
            place, memory = choice.placement, attempt * choice.expected.host
            if self.machine.binding:
                memory = min(memory, max(self.machine.host_memory, choice.expected.host))
            self._resources[key] = {
                "gpu": choice.gpus,
                "nodes": choice.nodes,
                "zero_stage": place.zero_stage,
                "offload": place.offload,
                "micro_tokens": place.micro_tokens,
                "checkpointing": int(place.checkpointing),
                "mem_mb": -(-memory // MB),
                "predicted_gpu_mb": -(-choice.expected.allocated // MB),
                "runtime": attempt * self._minutes(cell, choice),
            }
        return self._resources[key]

    def _minutes(self, cell: "Cell", choice: Choice) -> int:
        """Return the time limit of a cell's jobs: the bound, and what the plan's steps take.

        These count where states lie in host memory, and steps take minutes.
        """
        settings = self.study.methods[cell.method]
        minutes = runtime_minutes(self.study.models[cell.model])
        if not choice.gpus or self.study.uses_context(cell.method):
            return minutes
        demand = self.demand(cell.task, cell.model, cell.method, cell.k)
        seconds = step_cost(demand, choice.placement, choice.per_node, choice.nodes) / choice.gpus
        steps = settings["epochs"] * -(-cell.k // settings["batch_size"])
        return minutes + round(CHUNK * steps * seconds / 60)

    def table(self) -> list[dict[str, object]]:
        """Return the plan as rows (records.PLAN): one per model and method, at their most shots."""
        most: dict[tuple[str, str], Cell] = {}
        for cell in self.study.own_cells:
            known = most.setdefault((cell.model, cell.method), cell)
            if self._extent(cell) > self._extent(known):
                most[cell.model, cell.method] = cell
        return [self._row(cell) for cell in most.values()]

    def _extent(self, cell: "Cell") -> tuple[int, int]:
        """Return what makes one cell of a model and method take more memory than another."""
        return cell.k, len(self.study.tasks[cell.task]["labels"])

    def _row(self, cell: "Cell") -> dict[str, object]:
        choice = self.choice(cell.task, cell.model, cell.method, cell.k)
        demand = self.demand(cell.task, cell.model, cell.method, cell.k)
        place, expected = choice.placement, choice.expected
        return {
            "model": cell.model,
            "method": cell.method,
            "k": cell.k,
            "gpus": choice.gpus,
            "nodes": choice.nodes,
            "zero_stage": place.zero_stage,
            "offload": place.offload,
            "micro_tokens": place.micro_tokens,
            "checkpointing": place.checkpointing,
            "gpu_gb": round(expected.gpu / GIB, 2),
            "host_gb": round(expected.host / GIB, 2),
            "parameters": demand.shape.parameters,
            "trainable": demand.trainable,
            "largest_layer": demand.shape.largest_layer,
            "shape_known": demand.shape.exact,
        }


def runtime_minutes(entry: dict) -> int:
    """Return the time limit, in minutes, that an adaptation job asks for at its first attempt.

    Four hours, and a day more for each ten billion parameters: a bound to queue with, not a cost
    model.
    """
    return 240 + 24 * 60 * entry["parameters"] // 10_000_000_000
