"""What an adaptation job is: its cell, settings and inputs, read from what Snakemake passes.

In-context learning and fine-tuning differ in what they do for a seed and in nothing here.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .. import storage
from ..data.evaluation_sets import EvaluationSet, new_rows
from ..data.shots import describe_draws, read_shots
from ..models.files import files_checksum
from ..models.tokenizer import load_tokenizer
from ..prompts.chat import read_pattern
from ..prompts.contexts import own_tokens, shows_shots, trained_behind
from ..prompts.patterns import Pattern
from ..prompts.set_queries import SetQueries
from ..prompts.window import OK, WindowChecker, check_cells
from ..runtime.placement import Placement, read_placement
from ..runtime.processes import ProcessGroup, read_process_group
from ..runtime.resume import STATE, fingerprint

if TYPE_CHECKING:
    from .forgetting import Elsewhere


@dataclass(frozen=True)
class AdaptationJob:
    """All that one adaptation job reads, and how it is run.

    `cell` has the keys protocol, task, model, method, pattern, k. `base` is the task whose rows the
    cell's task has: batches are drawn by its name, so that tasks that differ in factors of the data
    differ in nothing else. `labels` are the names of the task's. `shots[seed]` has the ROWS columns
    of the draw, in the order of the context (no entries for k = 0). `status[seed]` is "ok" or "does
    not fit". The first evaluation set is the in-domain one. `batch_tokens` says how many padded
    tokens are scored at once on a "cpu" and on a "gpu". `predicted_gpu_mb` is what the memory plan
    expects on each GPU, in 10^6 bytes (0: no GPU planned). A baseline without a model has no
    `model_manifest`. Of `train_patterns` training draws one for each row and visit; without any it
    reads rows with `pattern`, with which all are scored. `train` are all training rows
    (schemas.ROWS) but those with the texts of an evaluation row, where a method reads some besides
    the shots. `starts[seed]` are the files that training starts from, one for each task of the
    setting `start_from`. `queries` has the tokenizer, and what is tokenized already. `elsewhere`
    is what is measured outside the task, where a study does so.
    """

    cell: dict[str, object]
    base: str
    seeds: tuple[int, ...]
    status: dict[int, str]
    labels: tuple[str, ...]
    pattern: Pattern
    settings: dict
    model: dict
    model_manifest: Path | None
    evaluation: tuple[EvaluationSet, ...]
    shots: dict[int, pd.DataFrame] = field(repr=False)
    batch_tokens: dict[str, int]
    placement: Placement
    threads: int
    processes: ProcessGroup
    checksums: dict[str, object]
    code: str
    output: object
    predicted_gpu_mb: int = 0
    train_patterns: tuple[Pattern, ...] = ()
    train: pd.DataFrame | None = field(default=None, repr=False)
    starts: dict[int, tuple[Path, ...]] = field(default_factory=dict)
    queries: SetQueries | None = field(default=None, repr=False)
    elsewhere: "Elsewhere | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Return the cell as it is named in messages."""
        return "/".join(str(self.cell[key]) for key in self.cell)

    def batch_tokens_on(self, device_type: str) -> int:
        """Return the padded tokens of a scoring batch on a torch device type."""
        return batch_tokens_on(self.batch_tokens, device_type)

    @cached_property
    def content_free(self) -> EvaluationSet:
        """Return inputs without content as rows, to be scored beside each evaluation set."""
        texts = self.pattern.content_free()
        rows = pd.DataFrame({"id": range(len(texts)), "text_a": texts, "text_b": texts})
        merge = tuple(range(len(self.labels)))
        # A name that no task can have.
        return EvaluationSet("content free", merge, rows.assign(label=0, group=None, subset=None))

    @property
    def fingerprint(self) -> str:
        """Return the name of the job's state: its settings, inputs, code, processes, threads."""
        params = {
            "cell": self.cell,
            "settings": self.settings,
            "model": self.model,
            "pattern": asdict(self.pattern),
            "merge": [[each.name, each.merge, each.label_names] for each in self.evaluation],
            "labels": self.labels,
            "batch_tokens": self.batch_tokens,
            "placement": asdict(self.placement),
            "code": self.code,
            **({"forgetting": self.elsewhere.told} if self.elsewhere else {}),
        }
        return fingerprint(params, self.checksums, self.processes.size, self.threads)

    @property
    def state(self) -> Path:
        """Return the folder of the job's finished seeds and checkpoints."""
        return STATE / self.fingerprint


def batch_tokens_on(batch_tokens: Mapping[str, int], device_type: str) -> int:
    """Return of `batch_tokens`, on a "cpu" and on a "gpu", those on a torch device type."""
    return batch_tokens["gpu" if device_type == "cuda" else "cpu"]


def read_job(smk, uses_context: bool = False) -> AdaptationJob:
    """Read the inputs of an adaptation job, with their checksums.

    `uses_context` tells whether the shots are shown in front of each prompt, or trained on; of
    methods that do both the settings tell.

    Raises UserError for a missing input, or for shots that are not of this training split.
    """
    wildcards, params = smk.wildcards, smk.params
    cell = {name: getattr(wildcards, name) for name in ("protocol", "task", "model", "method")} | {
        "pattern": wildcards.pattern,
        "k": int(wildcards.k),
    }
    seeds = tuple(int(seed) for seed in params.seeds)
    paths = dict(zip(seeds, smk.input.shots, strict=True)) if cell["k"] else {}
    sets = [entry["set"] for entry in params.evaluation]
    rows = dict(zip(sets, map(storage.read_rows, smk.input.evaluation), strict=True))
    # A baseline that reads no model has no window either.
    tokenizer = load_tokenizer(smk.input.model) if smk.input.model else None
    queries = SetQueries(tokenizer) if tokenizer else None
    pattern = read_pattern(params.pattern, tokenizer)
    job = AdaptationJob(
        cell=cell,
        base=params.task,
        seeds=seeds,
        status=dict.fromkeys(seeds, OK),
        labels=tuple(params.labels),
        pattern=pattern,
        settings=dict(params.method),
        model=dict(params.model),
        model_manifest=Path(smk.input.model) if smk.input.model else None,
        evaluation=tuple(
            EvaluationSet.of(entry, rows[entry["set"]]) for entry in params.evaluation
        ),
        shots=read_shots(smk.input.train, paths) if paths else {},
        batch_tokens=dict(params.batch_tokens),
        placement=read_placement(smk.resources),
        threads=int(smk.threads),
        processes=read_process_group(),
        checksums=_checksums(smk, sets, paths),
        code=params.code,
        output=smk.output,
        predicted_gpu_mb=int(smk.resources.get("predicted_gpu_mb", 0)),
        train_patterns=tuple(
            read_pattern(each, tokenizer) for each in params.method.get("train_patterns", ())
        ),
        queries=queries,
    )
    if "unlabelled_rows" in job.settings:
        # Of folds, whose evaluation rows are shots, too.
        train = new_rows(storage.read_rows(smk.input.train), rows.values())
        job = replace(job, train=train)
    job = replace(job, status=check_window(job, uses_context)) if tokenizer else job
    if getattr(params, "forgetting", None):
        job = _with_elsewhere(job, smk)
    return _with_starts(job, smk.input.start) if "start_from" in job.settings else job


def _with_elsewhere(job: AdaptationJob, smk) -> AdaptationJob:
    """Return a job with what it measures outside its task, and the checksums of these files."""
    # By name: the code of jobs that measure nothing else does not depend on it.
    forgetting = import_module(".forgetting", __package__)
    elsewhere = forgetting.read_elsewhere(smk, job.seeds, job.queries, job.model["window"])
    checksums = {**job.checksums, "forgetting": elsewhere.checksums}
    return replace(job, elsewhere=elsewhere, checksums=checksums)


def _with_starts(job: AdaptationJob, manifests: list[str]) -> AdaptationJob:
    """Return a job with the files that its seeds start from, and their checksums."""
    # By name: the code of jobs that start from the model alone does not depend on it.
    points = import_module(".starting_points", __package__)
    tasks = job.settings["start_from"]["tasks"]
    fitting = [seed for seed in job.seeds if job.status[seed] == OK]
    starts = points.read_files(manifests, tasks, fitting)
    checksums = {**job.checksums, "start": points.checksums_of(starts, tasks)}
    return replace(job, starts=starts, checksums=checksums)


def check_window(job: AdaptationJob, uses_context: bool) -> dict[int, str]:
    """Return seed → "ok" or "does not fit", by the function that tells it in advance."""
    settings, cell = job.settings, job.cell
    checker = WindowChecker(
        job.queries,
        {pattern.name: pattern for pattern in (job.pattern, *job.train_patterns)},
        {evaluated.name: evaluated.rows for evaluated in job.evaluation},
        {("own", cell["k"], seed): drawn for seed, drawn in job.shots.items()},
    )
    job_cell = {
        **{name: cell[name] for name in ("method", "pattern", "k")},
        "seeds": job.seeds,
        "draw": "own",
        "uses_context": uses_context or shows_shots(settings),
        "needs_words": settings["head"] == "language-model",
        "virtual_tokens": own_tokens(settings),
        "truncate": settings.get("truncate"),
        "end_token": settings.get("end_token", False),
        "shown": settings.get("shown"),
        "cached": settings.get("cached"),
        "train_patterns": [pattern.name for pattern in job.train_patterns],
        "trained_behind": trained_behind(settings),
    }
    checked = check_cells(checker, cell, [job_cell], job.model["window"])
    return {int(row["seed"]): str(row["status"]) for row in checked}


def _checksums(smk, sets: list[str], shots: dict[int, str]) -> dict[str, object]:
    """Return the checksums of model, evaluation rows and draws."""
    evaluated = zip(sets, smk.input.evaluation, strict=True)
    data = {f"{name}/validation": storage.sha256(path) for name, path in evaluated}
    if shots:
        data[f"{smk.wildcards.task}/train"] = storage.sha256(smk.input.train)
    files = storage.read_json(smk.input.model, "files")["files"] if smk.input.model else {}
    return {"model": files_checksum(files), "data": data, **describe_draws(shots)}
