"""What is exchanged with lm-evaluation-harness, and from which files: plain values."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING

from .imports import find_logs

if TYPE_CHECKING:
    from .job_inputs import JobInputs
    from .study import Study


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


def _chat_manifest(study: "Study", model: str) -> dict[str, str]:
    """Return the manifest of a model whose chat template is used, under the key `manifest`."""
    used = study.chat(model)
    return {"manifest": f"results/models/{model}/manifest.json"} if used else {}
