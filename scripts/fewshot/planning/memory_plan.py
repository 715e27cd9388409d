"""The plan of a study's adaptation jobs: where each runs, the memory that takes, and the time.

Computed while Snakemake builds its graph, from architectures, settings, the machine, and the sizes
of prepared rows where there are any. Nothing of it changes a result: it travels as resources.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import UserError
from ..models.architectures import entry_architecture
from ..models.shapes import Architecture
from ..runtime.machine import Machine, read_machine
from ..runtime.placement import JobPlace
from ..runtime.time_limits import time_limit
from ..study.families import family_of
from . import job_time
from .choice import Choice, choose_placement
from .job_time import UNCERTAINTY, demand_of, job_model
from .memory import GIB, Demand
from .workload import Splits, Work, work_of

if TYPE_CHECKING:
    from ..study.study import Cell, Study


class MemoryPlan:
    """Chooses once for all jobs that take the same memory.

    `splits` are the sizes of the study's data.
    """

    def __init__(self, study: "Study", splits: Splits | None = None):
        self.study = study
        self.splits = splits or Splits(study.tasks)
        self._shapes: dict[str, Architecture] = {}
        self._choices: dict[tuple, Choice] = {}
        self._models: dict[tuple, job_time.JobModel] = {}

    @cached_property
    def machine(self) -> Machine:
        """Return the machine that jobs are planned for."""
        return read_machine(self.study.machine)

    def check(self) -> None:
        """Choose for every cell.

        Raises UserError for one that fits nowhere on the machine, and for training in float16
        without a GPU.
        """
        for cell in self.study.own_cells:
            self._check_dtype(cell)
            self.cell_choice(cell)

    def _check_dtype(self, cell: "Cell") -> None:
        half = self.study.models[cell.model]["dtype"] == "float16"
        if half and not self.machine.has_gpu and not self.study.uses_context(cell.method):
            raise UserError(
                f"{self.study.file('models')}: model '{cell.model}': dtype: fine-tuning in float16 "
                "needs a GPU; valid here: float32, bfloat16"
            )

    def choice(self, task: str, model: str, method: str, k: int) -> Choice:
        """Return the cheapest configuration of a cell's jobs."""
        settings, key = self.study.methods[method], self._key(task, model, method, k)
        if key not in self._choices:
            self._choices[key] = choose_placement(
                self.demand(task, model, method, k),
                self.machine,
                0 if self.study.uses_context(method) else settings["batch_size"],
                family_of(settings).recomputes,
                f"{self.study.file('models')}: model '{model}' with method '{method}' and k = {k}",
            )
        return self._choices[key]

    def cell_choice(self, cell: "Cell") -> Choice:
        """Return the cheapest configuration of a cell's jobs."""
        return self.choice(cell.task, cell.model, cell.method, cell.k)

    def _key(self, task: str, model: str, method: str, k: int) -> tuple:
        """Return what of a cell decides where its jobs run."""
        rows = min(self.study.methods[method].get("batch_size", 0), k) or k
        return model, method, len(self.study.tasks[task]["labels"]), rows

    def demand(self, task: str, model: str, method: str, k: int) -> Demand:
        """Return what a cell's jobs compute."""
        kind = "gpu" if self.machine.has_gpu else "cpu"
        return demand_of(self.study, self.shape(model), task, model, method, k, kind)

    def shape(self, model: str) -> Architecture:
        """Return a model's architecture."""
        if model not in self._shapes:
            self._shapes[model] = entry_architecture(self.study.models[model])
        return self._shapes[model]

    def minutes(self, cell: "Cell", seeds: int) -> int:
        """Return the time limit of a job's first attempt.

        Whether a context fits is told by mean lengths: one that is not expected to may well do, and
        has the time for that.
        """
        return time_limit(sum(self.seconds(cell, seeds).values()), UNCERTAINTY)

    def expected(self, cell: "Cell", seeds: int) -> dict[str, float]:
        """Return the predicted seconds of a cell's job by phase; of one that is not expected to fit
        its window those of its start, after which it ends."""
        ends = not self.work(cell, seeds).fits
        seconds = self.seconds(cell, seeds)
        return {phase: 0.0 if ends and phase != "start" else n for phase, n in seconds.items()}

    def wall(self, cell: "Cell", seeds: int) -> float:
        """Return the predicted seconds of a cell's job from start to end, as `expected`."""
        return sum(self.expected(cell, seeds).values())

    def site(self, cell: "Cell") -> JobPlace:
        """Return where a cell's jobs run."""
        choice = self.cell_choice(cell)
        return JobPlace(choice.placement, choice.per_node, choice.nodes)

    def work(self, cell: "Cell", seeds: int) -> Work:
        """Return what a cell's job of so many seeds does."""
        return work_of(self.study, self.splits, cell, seeds, self._settings(cell))

    def seconds(self, cell: "Cell", seeds: int) -> dict[str, float]:
        """Return the predicted seconds of a cell's job by phase, if its context fits."""
        site = self.site(cell)
        return job_time.job_seconds(self.work(cell, seeds), self._model(cell, site.kind), site)

    def _settings(self, cell: "Cell") -> Mapping:
        return self.study.method_settings(cell.method, cell.model)

    def _model(self, cell: "Cell", kind: str) -> job_time.JobModel:
        """Return what is run of a cell on a kind of device."""
        key = (*self._key(cell.task, cell.model, cell.method, cell.k), kind)
        if key not in self._models:
            self._models[key] = job_model(self.study, self.shape(cell.model), cell, kind)
        return self._models[key]

    def table(self) -> list[dict[str, object]]:
        """Return rows (schemas.MEMORY_PLAN), one per model and method, at their most shots."""
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
        choice = self.cell_choice(cell)
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
