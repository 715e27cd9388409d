"""From configuration to cells and jobs; the cross-checks that no schema can make."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import UserError
from ..validation import path_of
from .cells import IMPORTED, PROTOCOLS, Cell, Job, chunks, read_seeds
from .families import family_of, kind_of, read_settings


@dataclass(frozen=True)
class Study:
    """A checked study configuration with the registries it refers to.

    `figures` and `tables` are those it draws; `unmet` has the reasons for the others, by kind.
    The registries are in `folder`.
    """

    settings: dict
    models: dict[str, dict]
    tasks: dict[str, dict]
    methods: dict[str, dict]
    patterns: dict[str, dict]
    figures: dict[str, dict]
    tables: dict[str, dict]
    machine: dict
    unmet: dict[str, dict[str, str]] = field(default_factory=dict)
    folder: str = "config"

    @property
    def name(self) -> str:
        return self.settings["study"]

    def file(self, registry: str) -> str:
        """Return the file of a registry ("models", "tasks" …), for messages to name."""
        return str(path_of(registry, self.folder))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Return the data seeds in order."""
        return read_seeds(self.settings["seeds"])

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Return the union of the grid's blocks, without repetitions, in the order given."""
        return tuple(self._seeds_by_cell)

    @cached_property
    def own_cells(self) -> tuple[Cell, ...]:
        """Return the cells that are run here."""
        return tuple(cell for cell in self.cells if not self.is_imported(cell.method))

    def is_imported(self, method: str) -> bool:
        """Return whether a method's results are made elsewhere."""
        return self.methods[method]["family"] == IMPORTED

    @cached_property
    def _seeds_by_cell(self) -> dict[Cell, tuple[int, ...]]:
        seeds: dict[Cell, tuple[int, ...]] = {}
        for block in self.settings["grid"]:
            own = read_seeds(block.get("seeds", self.settings["seeds"]))
            for cell in self._block(block):
                if seeds.setdefault(cell, own) != own:
                    raise UserError(f"{self.name}: grid: two blocks give {cell.folder} other seeds")
        return seeds

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """Return the adaptation jobs of all cells."""
        return tuple(
            Job(cell, seeds) for cell in self.cells for seeds in chunks(self.seeds_of(cell))
        )

    def seeds_of(self, cell: Cell) -> tuple[int, ...]:
        """Return the seeds of a cell: only 0 where nothing is drawn (k = 0)."""
        return self._seeds_by_cell[cell] if cell.k else (0,)

    def jobs_of(self, task: str, model: str) -> list[Job]:
        """Return the jobs that one metrics file summarises."""
        return self._jobs_by_pair.get((task, model), [])

    @cached_property
    def _jobs_by_pair(self) -> dict[tuple[str, str], list[Job]]:
        found: dict[tuple[str, str], list[Job]] = {}
        for job in self.jobs:
            found.setdefault((job.cell.task, job.cell.model), []).append(job)
        return found

    def evaluation_sets(self, task: str) -> list[str]:
        """Return the tasks whose validation splits are scored: the task's own one first."""
        return [task, *(name for name, _ in self.out_of_domain(task))]

    def out_of_domain(self, task: str, protocol: str | None = None) -> list[tuple[str, list[int]]]:
        """Return (task, merge) of each out-of-domain set; merge maps label to label.

        The sets belong to the task and the protocol (the study's, if none is named), never to a
        study: studies share their runs.
        """
        identity = list(range(len(self.tasks[task]["labels"])))
        items = self.tasks[task]["out_of_domain"]
        if isinstance(items, dict):
            items = items[protocol or self.settings["protocol"]]
        return [
            (item, identity) if isinstance(item, str) else (item["set"], item["merge"])
            for item in items
        ]

    def source_of(self, task: str) -> str:
        """Return the name of the raw source of a task: its own or the task it shares with."""
        source = self.tasks[task]["source"]
        return source if isinstance(source, str) else task

    def uses_context(self, method: str) -> bool:
        """Return whether the method shows the demonstrations instead of training on them."""
        return family_of(self.methods[method]).shows_context

    @cached_property
    def kinds(self) -> dict[str, dict[str, str]]:
        """Return the kind of each method, by which figures and tables may pick it."""
        return {name: {"kind": kind_of(entry)} for name, entry in self.methods.items()}

    def draw_of(self, method: str) -> str:
        """Return the kind of draw that the method's shots come from."""
        protocol = PROTOCOLS[self.settings["protocol"]]
        shown = self.uses_context(method) or self.is_imported(method)
        return protocol.in_context if shown else protocol.trained

    @property
    def shared_draws(self) -> bool:
        """Return whether all methods see the same shots, so that they can be compared in pairs."""
        protocol = PROTOCOLS[self.settings["protocol"]]
        return protocol.in_context == protocol.trained

    def method_settings(self, method: str, model: str) -> dict:
        """Return what changes the method's result on a model: the settings that its family and
        head read, without its title.

        Of LoRA's `targets` only the list for the model's family, so that another family's entry
        changes nothing.
        """
        settings = read_settings(self.methods[method])
        if "targets" in settings:
            settings["targets"] = settings["targets"][self.models[model]["family"]]
        return settings

    def model_source(self, model: str) -> dict:
        """Return where a model's files come from, without what only describes it."""
        return {
            key: value
            for key, value in self.models[model].items()
            if key in ("hub", "revision", "local")
        }

    @cached_property
    def hub_models(self) -> dict[str, dict]:
        """Return the entries of models that are run here and come from the Hub."""
        names = dict.fromkeys(cell.model for cell in self.own_cells)
        return {name: self.models[name] for name in names if "hub" in self.models[name]}

    @cached_property
    def hub_sources(self) -> dict[str, dict]:
        """Return the sources of the study's tasks that come from the Hub."""
        tasks = dict.fromkeys(cell.task for cell in self.cells)
        names = {self.source_of(name) for task in tasks for name in self.evaluation_sets(task)}
        found = {name: self.tasks[name]["source"] for name in sorted(names)}
        return {name: source for name, source in found.items() if "hub" in source}

    def task_reading(self, task: str) -> dict:
        """Return how a task's raw rows are read: what changes its prepared rows, no more."""
        unread = ("title", "source", "verbalizers", "out_of_domain", "metric", "row_tokens")
        return {key: each for key, each in self.tasks[task].items() if key not in unread}

    @property
    def main_k(self) -> int:
        """Return the number of shots of the headline: as configured, or the largest shared one."""
        if "k" in self.settings["main"]:
            return self.settings["main"]["k"]
        by_method: dict[str, set[int]] = {}
        for cell in self.own_cells or self.cells:
            by_method.setdefault(cell.method, set()).add(cell.k)
        shared = set.intersection(*by_method.values())
        return max(shared or set.union(*by_method.values()))

    def _block(self, block: dict) -> Iterator[Cell]:
        for task in block.get("tasks", self.settings["tasks"]):
            for model in block.get("models", self.settings["models"]):
                for method in block["methods"]:
                    for pattern in block["patterns"]:
                        for k in block["k"]:
                            yield Cell(self.settings["protocol"], task, model, method, pattern, k)
