"""The plan of a study's adaptation jobs: where each runs, the memory that takes, and the time.

Computed while Snakemake builds its graph, from architectures, settings, the machine, and the sizes
of prepared rows where there are any. Nothing of it changes a result: it travels as resources.
"""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import UserError
from ..models.architectures import entry_architecture
from ..models.shapes import Architecture
from ..prompts.contexts import shows_shots, trained_behind
from ..runtime.machine import Machine, read_machine
from ..runtime.placement import JobPlace, Placement
from ..runtime.time_limits import time_limit
from ..study.families import family_of
from ..study.other_tasks import measured_models, placed_as
from ..study.starting_points import source_cells
from ..study.without_model import NONE
from . import job_time
from .choice import Choice, choose_placement
from .job_time import UNCERTAINTY, demand_of, job_model
from .memory import GIB, Demand, estimate
from .workload import (
    DATA,
    AnswerSize,
    Splits,
    Work,
    answer_size,
    batch_rows,
    unadapted_work,
    work_of,
)
from .workload import held_out as held_out_work

if TYPE_CHECKING:
    from ..study.study import Cell, Study


class MemoryPlan:
    """Chooses once for all jobs that take the same memory.

    `splits` are the sizes of the study's data.
    """

    def __init__(self, study: "Study", splits: Splits | None = None):
        self.study = study
        self.splits = splits or Splits(study.tasks, study.places.at(DATA))
        self._shapes: dict[str, Architecture] = {}
        self._choices: dict[tuple, Choice] = {}
        self._models: dict[tuple, job_time.JobModel] = {}

    @cached_property
    def machine(self) -> Machine:
        """Return the machine that jobs are planned for."""
        return read_machine(self.study.machine)

    def check(self) -> None:
        """Choose for every cell, but those of models whose sizes their download must tell.

        Raises UserError for one that fits nowhere on the machine, and for training in float16
        without a GPU.
        """
        for cell in self.study.own_cells:
            self._check_dtype(cell)
            if cell.model not in self.study.unsized:
                self.choice(cell)
        for model in measured_models(self.study):
            if model not in self.study.unsized:
                try:
                    self.choice(placed_as(self.study, model))
                except UserError as error:
                    raise UserError(f"{error} (shots that forgetting.k asks for)") from None

    def _check_dtype(self, cell: "Cell") -> None:
        half = self.study.models[cell.model]["dtype"] == "float16"
        trains = family_of(self.study.methods[cell.method]).trains
        if half and not self.machine.has_gpu and trains:
            raise UserError(
                f"{self.study.file('models', cell.model)}: model '{cell.model}': dtype: "
                "fine-tuning in float16 needs a GPU; valid here: float32, bfloat16"
            )

    def choice(self, cell: "Cell") -> Choice:
        """Return the cheapest configuration of a cell's jobs; raises UserError where none fits."""
        settings, key = self.study.methods[cell.method], self._key(cell)
        if cell.model == NONE and key not in self._choices:
            place, demand = Placement(), self.demand(cell)
            self._choices[key] = Choice(place, 0, 1, estimate(demand, place, 0, 1))
        if key not in self._choices:
            self._choices[key] = choose_placement(
                self.demand(cell),
                self.machine,
                settings["batch_size"] if family_of(settings).trains else 0,
                family_of(settings).recomputes,
                f"{self.study.file('models', cell.model)}: model '{cell.model}' with method "
                f"'{cell.method}' and k = {cell.k}",
            )
        return self._choices[key]

    def _key(self, cell: "Cell") -> tuple:
        """Return what of a cell decides where its jobs run."""
        settings = self.study.method_settings(cell.method, cell.model)
        trains = family_of(settings).trains
        rows = batch_rows(settings, cell.k) if trains else cell.k
        labels = len(self.study.tasks[cell.task]["labels"])
        key = (cell.model, cell.method, labels, rows, self._answer(cell))
        if family_of(self.study.methods[cell.method]).fuses:  # Each task has adapters there.
            key = (*key, len(source_cells(self.study, cell)))
        if shows_shots(settings) or trained_behind(settings):
            key = (*key, cell.k)
        # What is kept of evaluation rows differs by task.
        return (*key, cell.task) if self._keeps_rows(cell) else key

    def _keeps_rows(self, cell: "Cell") -> bool:
        """Return whether a job keeps the states of all evaluation rows."""
        settings = self.study.method_settings(cell.method, cell.model)
        return family_of(settings).baseline or settings.get("similarity") == "states"

    def _answer(self, cell: "Cell") -> AnswerSize:
        settings = self.study.method_settings(cell.method, cell.model)
        return answer_size(self.study, cell, settings)

    def demand(self, cell: "Cell") -> Demand:
        """Return what a cell's jobs compute."""
        kind = "gpu" if self.machine.has_gpu else "cpu"
        demand = demand_of(self.study, self.shape(cell.model), cell, kind)
        if not self._keeps_rows(cell):
            return demand
        sets = self.study.scored_sets(cell.task)
        rows = sum(self.splits.of(name, "validation").rows for name in sets)
        # The states of all evaluation rows, and a copy on their way to be classified or compared.
        return replace(demand, states=2 * rows * demand.shape.readout)

    def shape(self, model: str) -> Architecture:
        """Return a model's architecture."""
        if model not in self._shapes:
            self._shapes[model] = entry_architecture(self.study.model(model))
        return self._shapes[model]

    def minutes(self, cell: "Cell", seeds: int, held_out: bool = False) -> int:
        """Return the time limit of a job's first attempt.

        Whether a context fits is told by mean lengths: one that is not expected to may well do, and
        has the time for that.
        """
        return time_limit(sum(self.seconds(cell, seeds, held_out).values()), UNCERTAINTY)

    def expected(self, cell: "Cell", seeds: int, held_out: bool = False) -> dict[str, float]:
        """Return the predicted seconds of a cell's job by phase; of one that is not expected to fit
        its window those of its start, after which it ends."""
        ends = not self.work(cell, seeds).fits
        seconds = self.seconds(cell, seeds, held_out)
        return {phase: 0.0 if ends and phase != "start" else n for phase, n in seconds.items()}

    def wall(self, cell: "Cell", seeds: int, held_out: bool = False) -> float:
        """Return the predicted seconds of a cell's job from start to end, as `expected`."""
        return sum(self.expected(cell, seeds, held_out).values())

    def site(self, cell: "Cell") -> JobPlace:
        """Return where a cell's jobs run."""
        choice = self.choice(cell)
        return JobPlace(choice.placement, choice.per_node, choice.nodes)

    def work(self, cell: "Cell", seeds: int, held_out: bool = False) -> Work:
        """Return what a cell's job of so many seeds does, or the one that scores its shots
        `held_out` in turn."""
        settings = self.study.cell_settings(cell)
        work = work_of(self.study, self.splits, cell, seeds, settings)
        return held_out_work(work, cell.k, self.study.folds_of(cell)) if held_out else work

    def seconds(self, cell: "Cell", seeds: int, held_out: bool = False) -> dict[str, float]:
        """Return the predicted seconds of a cell's job by phase, if its context fits."""
        site, work = self.site(cell), self.work(cell, seeds, held_out)
        return job_time.job_seconds(work, self._model(cell, site.kind), site)

    def unadapted(self, model: str) -> dict[str, float]:
        """Return the predicted seconds by phase of the job that measures a model before any
        adaptation, in the place of another (`placed_as`)."""
        cell = placed_as(self.study, model)
        work, site = unadapted_work(self.study, self.splits, cell), self.site(cell)
        return job_time.job_seconds(work, self._model(cell, site.kind), site)

    def unadapted_minutes(self, model: str) -> int:
        """Return the time limit of that job's first attempt."""
        return time_limit(sum(self.unadapted(model).values()), UNCERTAINTY)

    def _model(self, cell: "Cell", kind: str) -> job_time.JobModel:
        """Return what is run of a cell on a kind of device."""
        key = (*self._key(cell), kind)
        if key not in self._models:
            self._models[key] = job_model(self.study, self.shape(cell.model), cell, kind)
        return self._models[key]

    def table(self) -> list[dict[str, object]]:
        """Return rows (schemas.MEMORY_PLAN), one per model and method, at their most shots."""
        most: dict[tuple[str, str], Cell] = {}
        for cell in (each for each in self.study.own_cells if each.model != NONE):
            largest = most.setdefault((cell.model, cell.method), cell)
            most[cell.model, cell.method] = max(largest, cell, key=self._extent)
        return [self._row(cell) for cell in most.values()]

    def _extent(self, cell: "Cell") -> tuple[int, int, int]:
        """Return what makes one cell of a model and method take more memory than another."""
        answer = self._answer(cell)
        labels = len(self.study.tasks[cell.task]["labels"])
        return cell.k, labels, answer.readings * answer.tokens

    def _row(self, cell: "Cell") -> dict[str, object]:
        choice, demand = self.choice(cell), self.demand(cell)
        return {
            "model": cell.model,
            "method": cell.method,
            "k": cell.k,
            "gpus": choice.gpus,
            "nodes": choice.nodes,
            **vars(choice.placement),
            "gpu_gb": round(choice.expected.gpu / GIB, 2),
            "host_gb": round(choice.expected.host / GIB, 2),
            "parameters": demand.shape.parameters,
            "trainable": demand.trainable,
            "largest_layer": demand.shape.largest_layer,
            "shape_known": demand.shape.exact,
        }
