"""From configuration to cells, jobs and paths; the cross-checks that no schema can make.

A cell is protocol × task × model × method × pattern × k. A job handles the seeds of one cell that
fall into one chunk of a fixed grid of ten, so that asking later for seeds 10-19 adds jobs and
repeats none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .errors import UserError, unknown
from .patterns import bind_pattern
from .registry import check, load_registries

CHUNK = 10


@dataclass(frozen=True, order=True)
class Cell:
    """What one number in a table is about."""

    protocol: str
    task: str
    model: str
    method: str
    pattern: str
    k: int

    @property
    def folder(self) -> str:
        """Return the cell's path below results/runs/, logs/ and benchmarks/."""
        return f"{self.protocol}/{self.task}/{self.model}/{self.method}/{self.pattern}/k{self.k}"


@dataclass(frozen=True, order=True)
class Job:
    """One adaptation job: a cell and a contiguous range of its data seeds."""

    cell: Cell
    seeds: tuple[int, ...]

    @property
    def folder(self) -> str:
        """Return the job's path below results/runs/, logs/ and benchmarks/."""
        return f"{self.cell.folder}/seeds{self.seeds[0]}-{self.seeds[-1]}"


@dataclass(frozen=True)
class Study:
    """A checked study configuration with the registries it refers to."""

    settings: dict
    models: dict[str, dict]
    tasks: dict[str, dict]
    methods: dict[str, dict]
    patterns: dict[str, dict]
    figures: dict[str, dict]
    tables: dict[str, dict]

    @property
    def name(self) -> str:
        return self.settings["study"]

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Return the data seeds in order."""
        first, _, last = self.settings["seeds"].partition("-")
        return tuple(range(int(first), int(last or first) + 1))

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Return the union of the grid's blocks, without repetitions, in the order given."""
        return tuple(
            dict.fromkeys(cell for block in self.settings["grid"] for cell in self._block(block))
        )

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Return the adaptation jobs of all cells."""
        return tuple(
            Job(cell, seeds) for cell in self.cells for seeds in chunks(self.seeds_of(cell))
        )

    def seeds_of(self, cell: Cell) -> tuple[int, ...]:
        """Return the seeds of a cell: only 0 where nothing is drawn (k = 0)."""
        return self.seeds if cell.k else (0,)

    def jobs_of(self, task: str, model: str) -> list[Job]:
        """Return the jobs that one metrics file summarises."""
        return [job for job in self.jobs if (job.cell.task, job.cell.model) == (task, model)]

    def evaluation_sets(self, task: str) -> list[str]:
        """Return the tasks whose validation splits are scored: the task's own one first."""
        return [task, *(name for name, _ in self.out_of_domain(task))]

    def out_of_domain(self, task: str) -> list[tuple[str, list[int]]]:
        """Return (task, merge) of each out-of-domain set; merge maps label to label."""
        identity = list(range(len(self.tasks[task]["labels"])))
        return [
            (item, identity) if isinstance(item, str) else (item["set"], item["merge"])
            for item in self.tasks[task]["out_of_domain"]
        ]

    def source_of(self, task: str) -> str:
        """Return the name of the raw source of a task: its own or the task it shares with."""
        source = self.tasks[task]["source"]
        return source if isinstance(source, str) else task

    def uses_context(self, method: str) -> bool:
        """Return whether the method shows the demonstrations instead of training on them."""
        return self.methods[method]["family"] == "in_context"

    def method_settings(self, method: str) -> dict:
        """Return what changes the method's result: all settings but its title."""
        return {key: value for key, value in self.methods[method].items() if key != "title"}

    def _block(self, block: dict) -> Iterator[Cell]:
        for task in block.get("tasks", self.settings["tasks"]):
            for model in block.get("models", self.settings["models"]):
                for method in block["methods"]:
                    for pattern in block["patterns"]:
                        for k in block["k"]:
                            yield Cell(self.settings["protocol"], task, model, method, pattern, k)


def chunks(seeds: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Cut seeds along the fixed grid 0-9, 10-19, …"""
    grid: dict[int, list[int]] = {}
    for seed in seeds:
        grid.setdefault(seed // CHUNK, []).append(seed)
    return [tuple(members) for members in grid.values()]


def load_study(config: dict, folder: str = "config", where: str = "config/config.yaml") -> Study:
    """Check a study against the registries in `folder` and return it.

    `where` names the study's file in messages. Raises UserError, one line, for anything wrong.
    """
    settings = check(config, "study", where)
    registries = load_registries(folder)
    figures = registries.pop("figures")
    study = Study(settings, **registries, figures=figures["figures"], tables=figures["tables"])
    _check_tasks(study)
    _check_names(study, where)
    _check_seeds(study, where)
    for cell in study.cells:
        _check_cell(study, cell, where)
    return study


def _check_names(study: Study, where: str) -> None:
    for block in [study.settings, *study.settings["grid"]]:
        for kind in ("models", "tasks", "methods", "patterns"):
            registry = getattr(study, kind)
            for name in block.get(kind, []):
                if name not in registry:
                    raise unknown(kind[:-1], name, registry, f"{where}: {kind}")


def _check_seeds(study: Study, where: str) -> None:
    if not study.seeds:
        raise UserError(f"{where}: seeds: '{study.settings['seeds']}' is empty; valid: first-last")


def _check_tasks(study: Study) -> None:
    for name, task in study.tasks.items():
        where = f"config/tasks.yaml: task '{name}'"
        source = task["source"]
        if isinstance(source, str):
            if source not in study.tasks:
                raise unknown("source task", source, study.tasks, where)
            if isinstance(study.tasks[source]["source"], str):
                raise UserError(f"{where}: source '{source}' itself shares another task's source")
            source = study.tasks[source]["source"]
        splits = source.get("files") or source.get("local") or source.get("sizes")
        for split in task["splits"].values():
            if split not in splits:
                raise unknown("raw split", split, splits, f"{where}: splits")
        for evaluation, merge in study.out_of_domain(name):
            if evaluation not in study.tasks:
                raise unknown("task", evaluation, study.tasks, f"{where}: out_of_domain")
            labels = len(study.tasks[evaluation]["labels"])
            if len(merge) != len(task["labels"]) or set(merge) != set(range(labels)):
                raise UserError(
                    f"{where}: out_of_domain: '{evaluation}' has {labels} labels and the task "
                    f"{len(task['labels'])}; say with 'merge' which label of the set each label "
                    "of the task counts as"
                )


def _check_cell(study: Study, cell: Cell, where: str) -> None:
    """Check what a cell needs: a training split, a method's settings, a balanced k, a pattern."""
    task, labels = study.tasks[cell.task], len(study.tasks[cell.task]["labels"])
    if "train" not in task["splits"] and cell.k:
        raise UserError(f"{where}: task '{cell.task}' has no train split to draw shots from")
    if cell.k == 0 and not study.uses_context(cell.method):
        raise UserError(f"{where}: method '{cell.method}' trains on the shots and needs k > 0")
    if cell.k % labels:
        raise UserError(
            f"{where}: k = {cell.k} cannot be balanced over the {labels} labels of task "
            f"'{cell.task}'; valid: multiples of {labels}"
        )
    if study.uses_context(cell.method) or study.methods[cell.method]["head"] == "language-model":
        bind_pattern(cell.pattern, study.patterns[cell.pattern], cell.task, task)
