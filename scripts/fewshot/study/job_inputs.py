"""What jobs are made from and told, by their wildcards: plain values, which Snakemake compares."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis import flops
from ..codeversion import code_version
from ..data.entries import as_list
from ..models import architectures
from ..prompts.patterns import bind_pattern
from .catalog import catalog_of
from .families import training_passes
from .imports import find_logs

if TYPE_CHECKING:
    from .cells import Job
    from .study import Study

MODEL_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin")
"""Files of a local model that are loaded: configuration, tokenizer, weights."""


class JobInputs:
    """Inputs and parameters of a study's jobs; paths are relative to the project's folder."""

    def __init__(self, study: "Study"):
        self.study = study

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Return each task and model of the study."""
        return sorted({(job.cell.task, job.cell.model) for job in self.study.jobs})

    def source_files(self, source: str) -> list[str]:
        """Return the files of a local source, whose edits must be noticed; else nothing."""
        splits = self.study.tasks[source]["source"].get("local", {}).values()
        paths = {Path(path).expanduser() for split in splits for path in as_list(split)}
        return sorted(map(str, paths))

    def source_code(self, source: str) -> str:
        """Return the generator's version; what is downloaded depends on its revision alone."""
        synthetic = "synthetic" in self.study.tasks[source]["source"]
        return code_version("data.synthetic") if synthetic else ""

    def model_files(self, model: str) -> list[str]:
        """Return the files of a local model that are loaded; else nothing."""
        folder = self.study.models[model].get("local")
        if not folder:
            return []
        return sorted(
            str(path) for kind in MODEL_FILES for path in Path(folder).expanduser().glob(kind)
        )

    def weights(self, model: str) -> str | list:
        """Return the marker that a model's weights are there; a local model needs none."""
        return f"results/models/{model}/weights.json" if model in self.study.hub_models else []

    def needed_weights(self) -> list[str]:
        """Return the markers of models from the Hub that have unfinished runs."""
        unfinished = {
            job.cell.model
            for job in self.study.jobs
            if not self.study.is_imported(job.cell.method)
            and not Path(f"results/runs/{job.folder}/manifest.json").is_file()
        }
        return [self.weights(model) for model in self.study.hub_models if model in unfinished]

    def evaluation_files(self, task: str) -> list[str]:
        """Return the prepared rows that a task's jobs score."""
        return [
            f"results/data/{name}/validation.parquet" for name in self.study.evaluation_sets(task)
        ]

    def evaluation_sets(self, task: str) -> list[dict]:
        """Return the sets to score and how the task's labels count in each."""
        own = {"set": task, "merge": list(range(self.labels(task)))}
        others = self.study.out_of_domain(task)
        return [own, *({"set": name, "merge": merge} for name, merge in others)]

    def train_file(self, task: str, k: int) -> str | list:
        """Return the prepared rows that shots are taken from; nothing where k is 0."""
        return f"results/data/{task}/train.parquet" if int(k) else []

    def shots(self, method: str, task: str, k: int, seeds: Sequence[int]) -> list[str]:
        """Return the draws that a method learns from, by seed; none where k is 0."""
        draw = self.study.draw_of(method)
        return [f"results/shots/{draw}/{task}/k{k}/seed{seed}.parquet" for seed in seeds if int(k)]

    def pattern(self, task: str, pattern: str) -> dict:
        """Return a pattern with the label words of a task."""
        study = self.study
        return asdict(bind_pattern(pattern, study.patterns[pattern], task, study.tasks[task]))

    def method(self, method: str, model: str) -> dict:
        """Return the settings of a method that change its results on a model."""
        return self.study.method_settings(method, model)

    def model(self, model: str) -> dict:
        """Return what of a model's entry changes its results."""
        entry = self.study.models[model]
        keys = ("dtype", "parameters", "window", "config")
        return {key: entry[key] for key in keys if key in entry}

    def labels(self, task: str) -> int:
        """Return the number of a task's labels."""
        return len(self.study.tasks[task]["labels"])

    def model_size(self, model: str) -> dict:
        """Return what of a model's shape decides its operations."""
        shape = architectures.entry_architecture(self.study.models[model])
        return asdict(flops.model_size(shape))

    def jobs(self, task: str, model: str) -> list[dict]:
        """Return the jobs that a metrics file summarises."""
        return [self._job(job) for job in self.study.jobs_of(task, model)]

    def manifests(self, task: str, model: str) -> list[str]:
        """Return the manifests of the jobs that a metrics file summarises."""
        return [f"{job['folder']}/manifest.json" for job in self.jobs(task, model)]

    def own_jobs(self, task: str, model: str) -> list[dict]:
        """Return those of a pair's jobs that run here: what was made elsewhere needs no model."""
        jobs = self.jobs(task, model)
        return [job for job in jobs if not self.study.is_imported(job["method"])]

    def pair_model(self, task: str, model: str) -> str | list:
        """Return the manifest of a pair's model, if a job of the pair runs here."""
        return f"results/models/{model}/manifest.json" if self.own_jobs(task, model) else []

    def cells(self, task: str, model: str) -> list[dict]:
        """Return the cells of a task and model whose windows are checked."""
        study = self.study
        return [
            {
                "method": job["method"],
                "pattern": job["pattern"],
                "k": job["k"],
                "seeds": job["seeds"],
                "draw": study.draw_of(job["method"]),
                "uses_context": study.uses_context(job["method"]),
                "needs_words": study.methods[job["method"]]["head"] == "language-model",
                "virtual_tokens": self.method(job["method"], model).get("virtual_tokens", 0),
                "truncate": study.methods[job["method"]].get("truncate"),
            }
            for job in self.own_jobs(task, model)
        ]

    def patterns(self, task: str, model: str) -> dict[str, dict]:
        """Return the patterns of a pair's jobs by name."""
        names = dict.fromkeys(job["pattern"] for job in self.own_jobs(task, model))
        return {name: self.pattern(task, name) for name in names}

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

    def task_runs(self, task: str) -> list[str]:
        """Return the manifests of a task's runs, of all models."""
        models = [model for name, model in self.pairs if name == task]
        return [path for model in models for path in self.manifests(task, model)]

    def comparison_catalog(self) -> dict:
        """Return what of the catalog decides which arms are compared: no title does."""
        facts = ("family", "trained", "stored_draws")
        catalog = catalog_of(self.study)
        kinds = {
            kind: {
                name: {key: entry[key] for key in facts if key in entry}
                for name, entry in catalog[kind].items()
            }
            for kind in ("models", "methods", "patterns")
        }
        return {**kinds, "shared_draws": catalog["shared_draws"]}

    def context_cells(self) -> list[dict]:
        """Return what the study shows in context, whatever the model."""
        found = {}
        for job in self.study.jobs:
            cell, seeds = job.cell, list(job.seeds)
            if self.study.uses_context(cell.method):
                paths = self.shots(cell.method, cell.task, cell.k, seeds)
                draws = dict(zip(map(str, seeds), paths, strict=False))
                files = self.evaluation_files(cell.task)
                sets = zip(self.evaluation_sets(cell.task), files, strict=True)
                found[cell.task, cell.pattern, str(cell.k), job.seeds] = {
                    **{name: getattr(cell, name) for name in ("protocol", "task", "k")},
                    "pattern": self.pattern(cell.task, cell.pattern),
                    "seeds": seeds,
                    "evaluation": [{**entry, "path": path} for entry, path in sets],
                    "train": (self.train_file(cell.task, cell.k) or "") if draws else "",
                    "shots": draws,
                }
        return list(found.values())

    def logged_runs(self, told: str | Mapping[str, str]) -> list[dict]:
        """Return the runs whose logs are `told` (see `imports.find_logs`), with all `files` that
        each is made from; raises UserError as that does."""
        runs = []
        for job, logs in find_logs(self.study, told).items():
            cell, prompts = job.cell, self.study.methods[job.cell.method]["prompts"]
            stored = prompts == "stored" and cell.k
            shots = self.shots(cell.method, cell.task, cell.k, job.seeds) if stored else []
            train = self.train_file(cell.task, cell.k) if stored else ""
            rows = self.evaluation_files(cell.task)
            sets = zip(self.evaluation_sets(cell.task), rows, strict=True)
            runs.append(
                {
                    "folder": f"results/runs/{job.folder}",
                    "cell": asdict(cell),
                    "pattern": self.pattern(cell.task, cell.pattern),
                    "prompts": prompts,
                    "parameters": self.study.models[cell.model]["parameters"],
                    "evaluation": [{**entry, "path": path} for entry, path in sets],
                    "logs": {str(seed): paths for seed, paths in logs.items()},
                    "train": train,
                    "shots": dict(zip(map(str, job.seeds), shots, strict=False)),
                    "files": [*rows, *chain(*logs.values()), *filter(None, [train]), *shots],
                }
            )
        return runs

    def _job(self, job: "Job") -> dict:
        cell = job.cell
        return {
            "method": cell.method,
            "pattern": cell.pattern,
            "k": cell.k,
            "seeds": list(job.seeds),
            "folder": f"results/runs/{job.folder}",
            "passes": training_passes(self.study.methods[cell.method]),
        }
