"""What travels to other programs, and from which files: cells as lm-evaluation-harness has them,
runs as they can be taken up again, their adapters in peft's format, and results. Plain values."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING

from ..data.entries import as_list
from .catalog import title_of
from .cells import Cell, Job
from .families import family_of
from .imports import find_logs

if TYPE_CHECKING:
    from .job_inputs import JobInputs
    from .study import Study

IN_PEFT = (
    *("lora", "qlora", "ia3", "prompt_tuning", "prompt_from_text", "p_tuning"),
    *("prefix_tuning", "reparametrised_prefix", "context_tuning", "cartridge"),
)
"""Families whose adapters peft's format expresses (`exchange.peft_files.FORMS`)."""
OWN_WEIGHTS = ("full", "head_only", "bitfit")
"""Families that train weights of the model itself."""
NOT_ADDED = "it trains weights of the model itself, and peft's format has only what is added"
OWN_MODULES = "peft has no such modules"
OWN_HEAD = "its classification head is no part of the language model that peft loads"


def context_cells(inputs: "JobInputs") -> list[dict]:
    """Return what the study shows in one context of all shots: the same to all models, but for
    those that have it in their own chat template."""
    study, found = inputs.study, {}
    for job in study.jobs:
        cell, seeds = job.cell, list(job.seeds)
        one_context = cell.method not in study.divided_methods
        if study.uses_context(cell.method) and one_context:
            paths = inputs.shots(cell.method, cell.task, cell.k, seeds)
            draws = dict(zip(map(str, seeds), paths, strict=False))
            chat = _chat_manifest(study, cell.model)
            own = {"model": cell.model, **chat} if chat else {}
            found[cell.task, own.get("model"), cell.pattern, str(cell.k), job.seeds] = {
                **{name: getattr(cell, name) for name in ("protocol", "task", "k")},
                **own,
                "pattern": inputs.pattern(cell.task, cell.pattern, cell.model),
                "seeds": seeds,
                "evaluation": inputs.sets_with_paths(cell.task),
                "train": (inputs.train_file(cell.task, cell.k) or "") if draws else "",
                "shots": draws,
            }
    return list(found.values())


def logged_runs(inputs: "JobInputs", told: str | Mapping[str, str]) -> list[dict]:
    """Return the runs whose logs are `told` (see `imports.find_logs`), with all `files` that
    each is made from; raises UserError as that does."""
    study, runs = inputs.study, []
    for job, logs in find_logs(study, told).items():
        cell, prompts = job.cell, study.methods[job.cell.method]["prompts"]
        stored = prompts == "stored" and cell.k
        shots = inputs.shots(cell.method, cell.task, cell.k, job.seeds) if stored else []
        train = inputs.train_file(cell.task, cell.k) if stored else ""
        chat = _chat_manifest(study, cell.model)
        shared = [*inputs.evaluation_files(cell.task), *chat.values()]
        runs.append(
            {
                "folder": f"results/runs/{job.folder}",
                "cell": asdict(cell),
                "pattern": inputs.pattern(cell.task, cell.pattern, cell.model),
                **chat,
                "prompts": prompts,
                "parameters": study.model(cell.model)["parameters"],
                "evaluation": inputs.sets_with_paths(cell.task),
                "logs": {str(seed): paths for seed, paths in logs.items()},
                "train": train,
                "shots": dict(zip(map(str, job.seeds), shots, strict=False)),
                "files": [*shared, *chain(*logs.values()), *filter(None, [train]), *shots],
            }
        )
    return runs


def told_job(inputs: "JobInputs", job: "Job") -> dict:
    """Return a job as `exchange.cells` takes it up again: settings, and files by their paths.

    Raises UserError where the sizes of its model are not known yet.
    """
    study, cell = inputs.study, job.cell
    trains = family_of(study.methods[cell.method]).trains
    shots = inputs.shots(cell.method, cell.task, cell.k, job.seeds)
    return {
        "folder": study.run_folder(job),
        "cell": asdict(cell),
        "base": study.rows_of(cell.task),
        "labels": inputs.labels(cell.task),
        "evaluation": inputs.sets_with_paths(cell.task),
        "pattern": inputs.pattern(cell.task, cell.pattern, cell.model),
        "method": inputs.training_settings(cell) if trains else inputs.settings(cell),
        "model": inputs.model(cell.model),
        "manifest": inputs.model_manifest(cell.model),
        "train": inputs.train_file(cell.task, cell.k) or "",
        "shots": dict(zip(map(str, job.seeds), shots, strict=False)),
        "start": inputs.start(cell, job.seeds),
        "batch_tokens": study.settings["batch_tokens"],
    }


def measured_jobs(study: "Study") -> list["Job"]:
    """Return a job of each cell that adapts a model here, the one of its first seeds: of the others
    latency and memory are the same."""
    first: dict[Cell, Job] = {}
    for job in study.own_jobs:
        if not study.is_baseline(job.cell.method):
            first.setdefault(job.cell, job)
    return list(first.values())


def adapter_runs(inputs: "JobInputs") -> tuple[list[dict], dict[str, str]]:
    """Return the runs whose adapters peft's format expresses (`told_job`, with titles and what the
    model's entry says of its licence), and method → why it does not, for those that train."""
    study, runs, left_out = inputs.study, [], {}
    for job in study.own_jobs:
        cell, method = job.cell, study.methods[job.cell.method]
        if not family_of(method).trains:
            continue
        reason = _not_in_peft(method)
        if reason:
            left_out[cell.method] = reason
            continue
        titles = {
            kind: title_of(getattr(cell, kind), getattr(study, f"{kind}s"))
            for kind in ("task", "model", "method", "pattern")
        }
        licence = study.models[cell.model].get("licence", "")
        runs.append({**told_job(inputs, job), "titles": titles, "licence": licence})
    return runs, left_out


def _not_in_peft(method: Mapping) -> str:
    """Return why peft's format does not express what a method trains; empty: it does."""
    if method["family"] not in IN_PEFT:
        return NOT_ADDED if method["family"] in OWN_WEIGHTS else OWN_MODULES
    return OWN_HEAD if method["head"] == "classification" else ""


def adapter_files(runs: list[dict]) -> list[str]:
    """Return the files that the adapters of `adapter_runs` are exported from, but for themselves:
    an import brings none, and nothing is to be trained again for that."""
    found = set()
    for run in runs:
        found |= {f"{run['folder']}/manifest.json", run["manifest"], run["train"], *run["start"]}
        found |= {*run["shots"].values(), *(each["path"] for each in run["evaluation"])}
    return sorted(filter(None, found))


def exported_jobs(inputs: "JobInputs") -> list[dict]:
    """Return all jobs: the names of the cell, seeds, and the folder of the run."""
    study = inputs.study
    return [
        {**asdict(job.cell), "seeds": list(job.seeds), "folder": study.run_folder(job)}
        for job in study.jobs
    ]


def result_sources(inputs: "JobInputs") -> dict[str, dict[str, dict]]:
    """Return where models and evaluation sets come from, by name: hub, revision and the manifest of
    what was downloaded, of sets the split besides; addresses of files (url); or their kind."""
    study = inputs.study
    used = dict.fromkeys(job.cell.model for job in study.jobs)
    sets = dict.fromkeys(name for task, _ in inputs.pairs for name in study.scored_sets(task))
    return {
        "models": {
            name: _source(study.models[name], f"results/models/{name}/manifest.json")
            for name in used
        },
        "tasks": {name: _rows_source(study, name) for name in sets},
    }


def _rows_source(study: "Study", name: str) -> dict:
    source, split = study.source_of(name), study.tasks[name]["splits"]["validation"]
    found = _source(study.tasks[source]["source"], f"results/raw/{source}/manifest.json")
    return {**found, "split": split} if "hub" in found else found


def _source(entry: Mapping, manifest: str) -> dict:
    if "hub" in entry:
        return {"hub": entry["hub"], "revision": entry["revision"], "manifest": manifest}
    if "url" in entry:
        files = chain(*map(as_list, entry["url"].values()))
        return {"url": list(dict.fromkeys(file["address"] for file in files))}
    return {"kind": next((kind for kind in ("synthetic", "local") if kind in entry), "none")}


def _chat_manifest(study: "Study", model: str) -> dict[str, str]:
    """Return the manifest of a model whose chat template is used, under the key `manifest`."""
    used = study.chat(model)
    return {"manifest": f"results/models/{model}/manifest.json"} if used else {}
