"""What jobs are made from and told, by their wildcards: plain values, which Snakemake compares."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis import flops
from ..codeversion import code_version
from ..data import halves
from ..data.bias_probe import PROBES
from ..data.entries import as_list
from ..models import architectures
from ..prompts.contexts import own_tokens, shows_shots, trained_behind
from .catalog import catalog_of
from .families import training_passes
from .sources import source_entry
from .starting_points import source_cells
from .without_model import NONE

if TYPE_CHECKING:
    from .cells import Cell, Job
    from .study import Study

MODEL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.bin")
"""Files of a local model that are loaded: configuration, tokenizer, weights."""


WINDOW_SETTINGS = ("end_token", "shown", "cached", "train_patterns")
"""Settings of some methods that decide how long their prompts are."""


class JobInputs:
    """Inputs and parameters of a study's jobs; paths are relative to the project's folder."""

    def __init__(self, study: "Study"):
        self.study = study
        self._shapes: dict[str, architectures.Architecture] = {}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Return each task and model of the study."""
        return sorted({(job.cell.task, job.cell.model) for job in self.study.jobs})

    @cached_property
    def catalog(self) -> dict:
        """Return the names, titles and facts that pages show."""
        return catalog_of(self.study)

    def source_files(self, source: str) -> list[str]:
        """Return the files of a local source, whose edits must be noticed; else nothing."""
        splits = source_entry(self.study, source).get("local", {}).values()
        paths = {Path(path).expanduser() for split in splits for path in as_list(split)}
        return sorted(map(str, paths))

    def source_code(self, source: str) -> str:
        """Return the generator's version; what is downloaded depends on its revision alone."""
        kind = source_entry(self.study, source).get("synthetic")
        made_by = "data.bias_probe" if kind in PROBES else "data.synthetic"
        return code_version(made_by) if kind else ""

    def model_files(self, model: str) -> list[str]:
        """Return the files of a local model that are loaded; else nothing."""
        folder = self.study.models[model].get("local")
        if not folder:
            return []
        return sorted(
            str(path) for kind in MODEL_FILES for path in Path(folder).expanduser().glob(kind)
        )

    def model_manifest(self, model: str) -> str | list:
        """Return the manifest of a model, if there is one; raises UserError where its sizes are
        not known yet."""
        if model == NONE:
            return []
        self.study.model(model)
        return f"results/models/{model}/manifest.json"

    def weights(self, model: str) -> str | list:
        """Return the marker that a model's weights are there; a local model needs none."""
        return f"results/models/{model}/weights.json" if model in self.study.hub_models else []

    def needed_weights(self) -> list[str]:
        """Return the markers of models from the Hub that have unfinished runs."""
        folders = {self.study.run_folder(job): job for job in self.study.own_jobs}
        folders |= {self.study.held_out_folder(job): job for job in self.study.held_out_jobs}
        unfinished = {
            job.cell.model
            for folder, job in folders.items()
            if not self.study.places.at(f"{folder}/manifest.json").is_file()
        }
        return [self.weights(model) for model in self.study.hub_models if model in unfinished]

    def evaluation_files(self, task: str) -> list[str]:
        """Return the prepared rows that a task's jobs score."""
        names = map(self.study.rows_of, self.study.scored_sets(task))
        return [f"results/data/{name}/validation.parquet" for name in names]

    def evaluation_sets(self, task: str) -> list[dict]:
        """Return the sets to score, the labels of each, how the task's labels count in it, whose
        rows it has, if not its own, and whether it is a probe, last of all."""
        own, probes = (task, list(range(len(self.labels(task))))), self.study.probes(task)
        sets = []
        for name, merge in (own, *self.study.out_of_domain(task), *probes):
            base = self.study.rows_of(name)
            entry = {"set": name, "labels": self.labels(name), "merge": merge}
            entry |= {"probe": True} if (name, merge) in probes else {}
            sets.append(entry | ({"base": base} if base != name else {}))
        return sets

    def train_file(self, task: str, k: int) -> str | list:
        """Return the prepared rows that shots are taken from; nothing where k is 0."""
        return f"results/data/{self.study.rows_of(task)}/train.parquet" if int(k) else []

    def shots(self, method: str, task: str, k: int, seeds: Sequence[int]) -> list[str]:
        """Return the draws that a method learns from, by seed; none where k is 0."""
        draw = self.study.draw_of(method)
        return [f"results/shots/{draw}/{task}/k{k}/seed{seed}.parquet" for seed in seeds if int(k)]

    def start(self, cell: "Cell", seeds: Sequence[int]) -> list[str]:
        """Return the manifests of the runs whose adapters a cell's job starts from; none where it
        starts from the model alone."""
        jobs = [
            job
            for source in source_cells(self.study, cell)
            for job in self.study.jobs_of(source.task, source.model)
            if job.cell == source and {*job.seeds} & {*seeds}
        ]
        return [f"{self.study.run_folder(job)}/manifest.json" for job in jobs]

    def draws(self) -> list[str]:
        """Return the draws of all jobs that run here."""
        cells = [(job.cell, job.seeds) for job in self.study.own_jobs]
        paths = (self.shots(cell.method, cell.task, cell.k, seeds) for cell, seeds in cells)
        return sorted(set(chain(*paths)))

    def pattern(self, task: str, pattern: str, model: str) -> dict:
        """Return a pattern with the label words of a task, and how the model's chat template is
        used if it is (see `prompts.chat.read_pattern`)."""
        return {**asdict(self.study.bind(pattern, task)), **self.study.chat(model)}

    def method(self, method: str, model: str) -> dict:
        """Return the settings of a method that change its results on a model."""
        return self.study.method_settings(method, model)

    def settings(self, cell: "Cell") -> dict:
        """Return the settings of a cell's job (see `Study.cell_settings`): with the patterns that
        it trains with, if they are others than its own, bound to the task; and where it starts from
        texts of the pattern, these and the manifest of who tokenizes them."""
        settings = self.study.cell_settings(cell)
        if "train_patterns" in settings:
            settings["train_patterns"] = [
                self.pattern(cell.task, name, cell.model) for name in settings["train_patterns"]
            ]
        if "initial_text" in settings:
            texts = self.study.initial_texts(cell.method, cell.task, cell.pattern)
            settings["start"] = {"texts": texts, "manifest": self.model_manifest(cell.model)}
        return settings

    def training_settings(self, cell: "Cell") -> dict:
        """Return `settings` of a job that trains and scores evaluation rows, with `best_epoch` if
        only the choice half chooses it: other jobs' settings stay as they were."""
        chosen = {"best_epoch": halves.SELECTION} if self.study.chooses_by_half else {}
        return {**self.settings(cell), **chosen}

    def model(self, model: str) -> dict:
        """Return what of a model's entry changes its results."""
        entry = self.study.model(model)
        keys = ("dtype", "parameters", "window", "config")
        return {key: entry[key] for key in keys if key in entry}

    def labels(self, task: str) -> list[str]:
        """Return the names of a task's labels."""
        return list(self.study.tasks[task]["labels"])

    def model_size(self, model: str) -> dict:
        """Return what of a model's shape decides its operations."""
        return asdict(flops.model_size(self._shape(model)))

    def _shape(self, model: str) -> architectures.Architecture:
        if model not in self._shapes:
            self._shapes[model] = architectures.entry_architecture(self.study.model(model))
        return self._shapes[model]

    def jobs(self, task: str, model: str) -> list[dict]:
        """Return the jobs that a metrics file summarises."""
        return [self._measured(job) for job in self.study.jobs_of(task, model)]

    def manifests(self, task: str, model: str) -> list[str]:
        """Return the manifests of the jobs that a metrics file summarises."""
        jobs = self.study.jobs_of(task, model)
        return [f"{self.study.run_folder(job)}/manifest.json" for job in jobs]

    def held_out(self, task: str, model: str) -> list[str]:
        """Return the manifests of the runs whose scores of held-out shots a metrics file uses."""
        jobs = [job for job in self.study.jobs_of(task, model) if self.study.is_held_out(job.cell)]
        return [f"{self.study.held_out_folder(job)}/manifest.json" for job in jobs]

    def choices(self, task: str, model: str) -> list[dict]:
        """Return the choices of settings of a pair: each with k and its candidate jobs, in order.

        A job with the shots in another order tells that `order`, and the `task` that has it.
        """
        return [
            {
                "choice": name,
                "k": k,
                "jobs": [
                    {**self._measured(job), **self._order(job.cell.task, task)} for job in jobs
                ],
            }
            for name, k, jobs in self._candidates(task, model)
        ]

    def _candidates(self, task: str, model: str) -> list[tuple[str, int, list["Job"]]]:
        """Return the name of each choice of a pair, its k and its candidate jobs, in order."""
        return [
            (
                name,
                k,
                [
                    job
                    for cell in cells
                    for job in self.study.jobs_of(cell.task, model)
                    if job.cell == cell
                ],
            )
            for name in self.study.choices
            for (*pair, k), cells in self.study.candidate_cells(name).items()
            if pair == [task, model]
        ]

    def _order(self, task: str, drawn: str) -> dict:
        if task == drawn:
            return {}
        return {"task": task, "order": self.study.factors_of(task)["order"]}

    def candidate_files(self, kind: str, task: str, model: str) -> list[str]:
        """Return the files of one kind ("metrics", "costs") of a pair and of all whose jobs are
        candidates of its choices."""
        jobs = [job for _, _, jobs in self._candidates(task, model) for job in jobs]
        tasks = dict.fromkeys([task, *(job.cell.task for job in jobs)])
        return [f"results/{kind}/{self.study.name}/{each}/{model}.parquet" for each in tasks]

    def candidate_manifests(self, task: str, model: str) -> list[str]:
        """Return the manifests of the candidates' runs that score held-out shots."""
        jobs = [job for _, _, jobs in self._candidates(task, model) for job in jobs]
        folders = dict.fromkeys(map(self.study.held_out_folder, jobs))
        return [f"{folder}/manifest.json" for folder in folders]

    def choice_files(self) -> list[str]:
        """Return the files of settings that are chosen, one for each pair with a choice."""
        folder = f"results/choices/{self.study.name}"
        return [f"{folder}/{task}/{model}.parquet" for task, model in self.pairs
                if self._candidates(task, model)]  # fmt: skip

    def bias_files(self) -> list[str]:
        """Return the files of what models make of probes, one for each pair whose task has any."""
        probed = [f"{task}/{model}" for task, model in self.pairs if self.study.probes(task)]
        return [f"results/bias/{self.study.name}/{pair}.parquet" for pair in probed]

    def own_jobs(self, task: str, model: str) -> list[dict]:
        """Return those of a pair's jobs that run here and read a model: what was made elsewhere
        needs none."""
        jobs = self.study.jobs_of(task, model) if model != NONE else []
        return [self._job(job) for job in jobs if not self.study.is_imported(job.cell.method)]

    def pair_model(self, task: str, model: str) -> str | list:
        """Return the manifest of a pair's model, if a job of the pair runs here."""
        return self.model_manifest(model) if self.own_jobs(task, model) else []

    def cells(self, task: str, model: str) -> list[dict]:
        """Return the cells of a task and model whose windows are checked."""
        return [self._window_cell(job, model) for job in self.own_jobs(task, model)]

    def _window_cell(self, job: dict, model: str) -> dict:
        study, settings = self.study, self.method(job["method"], model)
        behind = trained_behind(settings)
        return {
            **{key: job[key] for key in ("method", "pattern", "k", "seeds")},
            "draw": study.draw_of(job["method"]),
            "uses_context": study.uses_context(job["method"]) or shows_shots(settings),
            "needs_words": study.methods[job["method"]]["head"] == "language-model",
            "virtual_tokens": own_tokens(settings),
            "truncate": study.methods[job["method"]].get("truncate"),
            **{
                key: value
                for key, value in settings.items()
                if key in WINDOW_SETTINGS and value is not False
            },
            **({"trained_behind": behind} if behind else {}),
        }

    def patterns(self, task: str, model: str) -> dict[str, dict]:
        """Return the patterns of a pair's jobs by name."""
        jobs = self.own_jobs(task, model)
        names = dict.fromkeys(job["pattern"] for job in jobs)
        for job in jobs:
            names |= dict.fromkeys(self.method(job["method"], model).get("train_patterns", ()))
        return {name: self.pattern(task, name, model) for name in names}

    def pair_shots(self, task: str, model: str) -> dict[str, str]:
        """Return the draws that a task and model use: "draw/k/seed" → path."""
        found = {}
        for job in self.own_jobs(task, model):
            draw, k = self.study.draw_of(job["method"]), job["k"]
            paths = self.shots(job["method"], task, k, job["seeds"])
            found |= {
                f"{draw}/{k}/{seed}": path for seed, path in zip(job["seeds"], paths, strict=False)
            }
        return found

    def pair_train_file(self, task: str, model: str) -> str | list:
        """Return the prepared rows that a pair's shots are taken from, if it has any."""
        return self.train_file(task, len(self.pair_shots(task, model)))

    def task_files(self, kind: str, task: str) -> list[str]:
        """Return a task's files of one kind ("metrics", "outcomes"), one for each of its models."""
        models = [model for name, model in self.pairs if name == task]
        return [f"results/{kind}/{self.study.name}/{task}/{model}.parquet" for model in models]

    def orders_files(self, kind: str, task: str) -> list[str]:
        """Return `task_files` of a task, and of those with its shots in other orders."""
        return [path for each in self.study.orders_of(task) for path in self.task_files(kind, each)]

    def task_runs(self, task: str) -> list[str]:
        """Return the manifests of a task's runs, of all models."""
        models = [model for name, model in self.pairs if name == task]
        return [path for model in models for path in self.manifests(task, model)]

    def measured_pairs(self) -> list[dict]:
        """Return what the metrics of each task and model are made from."""
        return [
            {
                "protocol": self.study.settings["protocol"],
                "task": task,
                "model": model,
                "evaluation": self.sets_with_paths(task),
                "orders": self.study.orders_of(task),
                "size": self.model_size(model),
                "jobs": self.jobs(task, model),
                "choices": self.choices(task, model),
            }
            for task, model in self.pairs
        ]

    def comparison_catalog(self) -> dict:
        """Return what of the catalog decides which arms are compared and how: no title does."""
        facts = ("family", "parameters", "trained", "baseline", "stored_draws", "divided")
        kinds = {
            kind: {
                name: {key: entry[key] for key in facts if key in entry}
                for name, entry in self.catalog[kind].items()
            }
            for kind in ("models", "methods", "patterns")
        }
        metrics = {name: entry["metric"] for name, entry in self.catalog["tasks"].items()}
        own = {name: {"metric": metric} for name, metric in metrics.items() if metric != "accuracy"}
        return {
            **kinds,
            **({"tasks": own} if own else {}),
            "main": {name: self.catalog["main"][name] for name in ("k", "selection")},
            "shared_draws": self.catalog["shared_draws"],
        }

    def sets_with_paths(self, task: str) -> list[dict]:
        """Return `evaluation_sets`, each with the file of its rows."""
        sets = zip(self.evaluation_sets(task), self.evaluation_files(task), strict=True)
        return [{**entry, "path": path} for entry, path in sets]

    def _job(self, job: "Job") -> dict:
        cell = job.cell
        return {
            "method": cell.method,
            "pattern": cell.pattern,
            "k": cell.k,
            "seeds": list(job.seeds),
            "folder": self.study.run_folder(job),
        }

    def _measured(self, job: "Job") -> dict:
        """Return a job with what its metrics and costs are computed from, for which the sizes of
        its model must be known."""
        cell = job.cell
        passes = training_passes(self._shape(cell.model), self.study.cell_settings(cell))
        return {**self._job(job), "passes": passes, **self._held_out(job)}

    def _held_out(self, job: "Job") -> dict[str, object]:
        """Return the folder of a job's scores of held-out shots, and how these are held out, if
        there are any."""
        if not self.study.is_held_out(job.cell):
            return {}
        how = self.study.cross_validation
        return {"held_out": self.study.held_out_folder(job), "cross_validation": how}
