"""From configuration to cells, jobs, draws and settings."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from ..data import halves
from ..data.folds import fold_count
from ..errors import UserError
from ..prompts.patterns import CHANNEL, Pattern, bind_pattern
from .cells import IMPORTED, PROTOCOLS, Cell, Job, chunks, read_seeds
from .choice_cells import candidate_cells
from .families import family_of, kind_of, read_settings
from .forgetting import Forgetting
from .model_sizes import SizeUnknown, with_sizes
from .own_entries import Places
from .starting_points import source_tasks
from .variants import variants_of
from .without_model import NONE


@dataclass(frozen=True)
class Study:
    """A checked study configuration with the entries it refers to, which stand in `places`.

    `figures` and `tables` are those it draws; `on_demand` has, by kind, those that it makes besides
    when they are asked for, and `unmet` the reasons for the others.
    """

    settings: dict
    models: dict[str, dict]
    tasks: dict[str, dict]
    methods: dict[str, dict]
    patterns: dict[str, dict]
    texts: dict[str, dict]
    figures: dict[str, dict]
    tables: dict[str, dict]
    machine: dict
    unmet: dict[str, dict[str, str]] = field(default_factory=dict)
    on_demand: dict[str, dict[str, dict]] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    @property
    def name(self) -> str:
        return self.settings["study"]

    def file(self, registry: str, name: str = "") -> str:
        """Return where an entry of a registry ("models", "tasks" …) stands, for messages."""
        return self.places.of(registry, name)

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

    @cached_property
    def compared_cells(self) -> tuple[Cell, ...]:
        """Return the cells that are held against each other: all but the baselines."""
        return tuple(cell for cell in self.cells if not self.is_baseline(cell.method))

    @cached_property
    def own_jobs(self) -> tuple[Job, ...]:
        """Return the jobs that are run here."""
        return tuple(job for job in self.jobs if not self.is_imported(job.cell.method))

    @cached_property
    def own_models(self) -> list[str]:
        """Return the models that are run here; a baseline may have none."""
        return [n for n in dict.fromkeys(cell.model for cell in self.own_cells) if n != NONE]

    @property
    def chooses_by_half(self) -> bool:
        """Return whether a half of the in-domain rows chooses the best epoch (`data.halves`)."""
        return self.settings["best_epoch"] == halves.SELECTION

    @property
    def trained_runs(self) -> str:
        """Return the folder of runs that train: studies with another `best_epoch` have others, and
        so have those that measure something else besides (`forgetting`), in the same jobs."""
        runs = f"runs-{halves.SELECTION}" if self.chooses_by_half else "runs"
        return f"runs-forgetting/{self.forgetting.name}/{runs}" if self.forgetting else runs

    @cached_property
    def forgetting(self) -> Forgetting | None:
        """Return what is measured outside the tasks that models are adapted to, if it is."""
        told = self.settings.get("forgetting")
        return Forgetting.of(told) if told else None

    def run_folder(self, job: Job) -> str:
        """Return where a job's results lie."""
        trains = family_of(self.methods[job.cell.method]).trains
        return f"results/{self.trained_runs if trains else 'runs'}/{job.folder}"

    @property
    def cross_validation(self) -> int | str | None:
        """Return how shots are held out (see `data.folds.folds_of`), if they are."""
        return self.settings.get("cross_validation")

    def is_held_out(self, cell: Cell) -> bool:
        """Return whether a cell's shots are held out in turn, and scored: where there are any, and
        the method shows them or trains on them."""
        family = family_of(self.methods[cell.method])
        learns = family.shows_context or family.trains
        return self.cross_validation is not None and cell.k > 0 and learns

    @cached_property
    def held_out_jobs(self) -> tuple[Job, ...]:
        """Return the jobs whose shots are held out in turn."""
        return tuple(job for job in self.jobs if self.is_held_out(job.cell))

    def held_out_folder(self, job: Job) -> str:
        """Return where a job's scores of held-out shots lie: those of each way to hold them out
        apart, as another study may have another."""
        return f"results/held-out/{self.cross_validation}/{job.folder}"

    @property
    def choices(self) -> dict[str, dict]:
        """Return the choices of settings that are made from the shots, by name."""
        return self.settings.get("choices", {})

    def candidate_cells(self, choice: str) -> dict[tuple[str, str, int], list[Cell]]:
        """Return what a choice can take, by place (see `choice_cells.candidate_cells`)."""
        return candidate_cells(self, choice)

    def folds_of(self, cell: Cell, where: str = "") -> int:
        """Return how many folds each draw of a cell is cut into; raises UserError, which begins
        with the study's file `where`, where it is too small for them."""
        labels = len(self.tasks[cell.task]["labels"])
        copies = self.factors_of(cell.task).get("duplicate", 1)
        where = f"{where or self.name}: grid: k = {cell.k} of task '{cell.task}'"
        return fold_count(self.cross_validation, cell.k // copies, labels, where)

    def is_imported(self, method: str) -> bool:
        """Return whether a method's results are made elsewhere."""
        return self.methods[method]["family"] == IMPORTED

    @cached_property
    def _seeds_by_cell(self) -> dict[Cell, tuple[int, ...]]:
        seeds: dict[Cell, tuple[int, ...]] = {}
        for block in self.settings["grid"]:
            of_block = read_seeds(block.get("seeds", self.settings["seeds"]))
            for cell in self._block(block):
                if seeds.setdefault(cell, of_block) != of_block:
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
        return self._jobs_by_pair[task, model]

    @cached_property
    def _jobs_by_pair(self) -> Mapping[tuple[str, str], list[Job]]:
        pairs = defaultdict(list)
        for job in self.jobs:
            pairs[job.cell.task, job.cell.model].append(job)
        return pairs

    def evaluation_sets(self, task: str) -> list[str]:
        """Return the tasks whose validation splits tell accuracies: the task's own one first."""
        return [task, *(name for name, _ in self.out_of_domain(task))]

    def scored_sets(self, task: str) -> list[str]:
        """Return the tasks whose validation splits are scored: `evaluation_sets`, then probes."""
        return [*self.evaluation_sets(task), *(name for name, _ in self.probes(task))]

    def out_of_domain(self, task: str, protocol: str | None = None) -> list[tuple[str, list[int]]]:
        """Return (task, merge) of each out-of-domain set; merge maps label to label.

        The sets belong to the task and the protocol (the study's, if none is named), never to a
        study: studies share their runs.
        """
        items = self.tasks[task]["out_of_domain"]
        if isinstance(items, dict):
            items = items[protocol or self.settings["protocol"]]
        return self._merged(task, items)

    def probes(self, task: str) -> list[tuple[str, list[int]]]:
        """Return the same of the sets whose rows are all neutral: they count in no accuracy."""
        return self._merged(task, self.tasks[task]["probes"])

    def _merged(self, task: str, items: list) -> list[tuple[str, list[int]]]:
        identity = list(range(len(self.tasks[task]["labels"])))
        return [
            (item, identity) if isinstance(item, str) else (item["set"], item["merge"])
            for item in items
        ]

    def rows_of(self, task: str) -> str:
        """Return the task whose prepared rows and draws a task has: its `base`, or itself."""
        return self.tasks[task].get("base", task)

    def factors_of(self, task: str) -> dict:
        """Return the factors of the data that change a task's draws."""
        return self.tasks[task].get("draw", {})

    @cached_property
    def variants(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return factor → task → tasks that differ in it alone (see `variants.variants_of`)."""
        return variants_of(self)

    def orders_of(self, task: str) -> list[str]:
        """Return the tasks with the shots of a task in all their orders, first the task itself."""
        return list(self.variants.get("order", {}).get(task, [task]))

    def source_of(self, task: str) -> str:
        """Return the name of the raw source of a task: its own or the task it shares with."""
        source = self.tasks[task]["source"]
        return source if isinstance(source, str) else task

    def bind(self, pattern: str, task: str) -> Pattern:
        """Return a pattern with the label words of a task; raises UserError as `bind_pattern`."""
        if (pattern, task) not in self._bound:
            files = self.file("patterns", pattern), self.file("tasks", task)
            entries = self.patterns[pattern], self.tasks[task]
            self._bound[pattern, task] = bind_pattern(pattern, entries[0], task, entries[1], files)
        return self._bound[pattern, task]

    @cached_property
    def _bound(self) -> dict[tuple[str, str], Pattern]:
        """Return what `bind` has made: a study may have a hundred thousand cells, but few of
        these."""
        return {}

    def scores_texts(self, pattern: str) -> bool:
        """Return whether the pattern ranks labels by the text behind their words."""
        return self.patterns[pattern]["rank_by"] == CHANNEL

    def uses_context(self, method: str) -> bool:
        """Return whether the method shows the demonstrations instead of training on them."""
        return family_of(self.methods[method]).shows_context

    @cached_property
    def divided_methods(self) -> list[str]:
        """Return the methods that do not show all k shots in one context."""
        used = dict.fromkeys(cell.method for cell in self.cells)
        return [name for name in used if "shown" in family_of(self.methods[name]).settings]

    def is_baseline(self, method: str) -> bool:
        """Return whether the method is one that others are held against."""
        return family_of(self.methods[method]).baseline

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

    def initial_texts(self, method: str, task: str, pattern: str) -> list[str]:
        """Return the texts that a method with the setting `initial_text` starts from in a cell: the
        label words, or the pattern's own text, which is its query for rows without text."""
        bound = self.bind(pattern, task)
        words = self.methods[method]["initial_text"] == "label-words"
        return list(bound.words) if words else [bound.query("", "")]

    def cell_settings(self, cell: Cell) -> dict:
        """Return the `method_settings` of a cell. Where training is told in `steps`, `epochs` are
        those in which a draw has as many, of which the last may end early. Where it starts from
        adapters of other tasks, `start_from` has these tasks by name."""
        settings = self.method_settings(cell.method, cell.model)
        if "steps" in settings:
            rows = settings.get("unlabelled_rows", cell.k)
            settings["epochs"] = -(-settings["steps"] // -(-rows // settings["batch_size"]))
        if "start_from" in settings:
            tasks = source_tasks(self, cell)
            settings["start_from"] = {**settings["start_from"], "tasks": tasks}
        return settings

    def model(self, model: str) -> dict:
        """Return a model's entry with its sizes; raises UserError as `with_sizes` does."""
        if model == NONE:
            return self.models[NONE]
        if model not in self._sized:
            where = f"{self.file('models', model)}: model '{model}'"
            self._sized[model] = with_sizes(model, self.models[model], where, self.places.root)
        return self._sized[model]

    @cached_property
    def _sized(self) -> dict[str, dict]:
        return {}

    @cached_property
    def unsized(self) -> list[str]:
        """Return the models that are run here and must be downloaded before they can be planned."""
        return [name for name in self.own_models if self._lacks(name)]

    def _lacks(self, model: str) -> bool:
        try:
            self.model(model)
        except SizeUnknown:
            return True
        return False

    def model_source(self, model: str) -> dict:
        """Return where a model's files come from and what is asked of them, without what only
        describes it."""
        entry = self.models[model]
        source = {key: entry[key] for key in entry if key in ("hub", "revision", "local")}
        return source | self.chat(model)

    def chat(self, model: str) -> dict[str, dict]:
        """Return how a model's chat template is used, under the key `chat`; empty: not at all."""
        told = self.models[model].get("chat")
        if told is None:
            return {}
        return {"chat": {"demonstrations": told} if isinstance(told, str) else told}

    @cached_property
    def hub_models(self) -> dict[str, dict]:
        """Return the entries of models that are run here and come from the Hub."""
        return {name: self.models[name] for name in self.own_models if "hub" in self.models[name]}

    def task_reading(self, task: str) -> dict:
        """Return how a task's raw rows are read: what changes its prepared rows, no more."""
        unread = ("title", "source", "verbalizers", "out_of_domain", "probes", "metric")
        unread += ("row_tokens", "draw")
        return {key: value for key, value in self.tasks[task].items() if key not in unread}

    @cached_property
    def main_k(self) -> int:
        """Return the number of shots of the headline: as configured, or the largest shared one."""
        if "k" in self.settings["main"]:
            return self.settings["main"]["k"]
        by_method: dict[str, set[int]] = {}
        cells = self.own_cells or self.cells
        # Baselines are held against the others, and take what these have.
        for cell in [c for c in cells if not self.is_baseline(c.method)] or cells:
            by_method.setdefault(cell.method, set()).add(cell.k)
        shared = set.intersection(*by_method.values())
        return max(shared or set.union(*by_method.values()))

    def _block(self, block: dict) -> Iterator[Cell]:
        given = {**self.settings, **block}
        names = ("tasks", "models", "methods", "patterns", "k")
        for task, model, method, pattern, k in product(*(given[name] for name in names)):
            read = (model, method, pattern)
            if method in self.methods and not family_of(self.methods[method]).reads_model:
                read = (NONE, method, NONE)
            yield Cell(self.settings["protocol"], task, *read, k)
