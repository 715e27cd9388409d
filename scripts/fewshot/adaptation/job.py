"""What an adaptation job is: its cell, settings and inputs, read from what Snakemake passes.

In-context learning and fine-tuning differ in what they do for a seed and in nothing here.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from .. import storage
from ..data.evaluation_sets import EvaluationSet
from ..data.shots import describe_draws, read_shots
from ..models.tokenizer import load_tokenizer
from ..prompts.patterns import Pattern, restore_pattern
from ..prompts.window import WindowChecker, check_cells
from ..runtime.placement import Placement, read_placement
from ..runtime.processes import ProcessGroup, read_process_group
from ..runtime.resume import STATE, fingerprint


@dataclass(frozen=True)
class AdaptationJob:
    """All that one adaptation job reads, and how it is run.

    `cell` has the keys protocol, task, model, method, pattern, k. `shots[seed]` has the ROWS
    columns of the draw, in the order of the context (no entries for k = 0). `status[seed]` is "ok"
    or "does not fit". The first evaluation set is the in-domain one. `batch_tokens` says how many
    padded tokens are scored at once on a "cpu" and on a "gpu". `predicted_gpu_mb` is what the
    memory plan expects on each GPU, in 10^6 bytes (0: no GPU planned).
    """

    cell: dict[str, object]
    seeds: tuple[int, ...]
    status: dict[int, str]
    labels: int
    pattern: Pattern
    settings: dict
    model: dict
    model_manifest: Path
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

    @property
    def name(self) -> str:
        """Return the cell as it is named in messages."""
        return "/".join(str(self.cell[key]) for key in self.cell)

    def batch_tokens_on(self, device_type: str) -> int:
        """Return the padded tokens of a scoring batch on a torch device type."""
        return self.batch_tokens["gpu" if device_type == "cuda" else "cpu"]

    @property
    def fingerprint(self) -> str:
        """Return the name of the job's state: its settings, inputs, code, processes, threads."""
        params = {
            "cell": self.cell,
            "settings": self.settings,
            "model": self.model,
            "pattern": asdict(self.pattern),
            "merge": [[each.name, each.merge] for each in self.evaluation],
            "labels": self.labels,
            "batch_tokens": self.batch_tokens,
            "placement": asdict(self.placement),
            "code": self.code,
        }
        return fingerprint(params, self.checksums, self.processes.size, self.threads)

    @property
    def state(self) -> Path:
        """Return the folder of the job's finished seeds and checkpoints."""
        return STATE / self.fingerprint


def read_job(smk, uses_context: bool = False) -> AdaptationJob:
    """Read the inputs of an adaptation job, with their checksums.

    `uses_context` tells whether the shots are shown in front of each prompt, or trained on.

    Raises UserError for a missing input, or for shots that are not of this training split.
    """
    wildcards, params = smk.wildcards, smk.params
    cell = {name: getattr(wildcards, name) for name in ("protocol", "task", "model", "method")} | {
        "pattern": wildcards.pattern,
        "k": int(wildcards.k),
    }
    seeds = tuple(int(seed) for seed in params.seeds)
    paths = dict(zip(seeds, smk.input.shots, strict=True)) if cell["k"] else {}
    sets = [each["set"] for each in params.evaluation]
    rows = dict(zip(sets, map(storage.read_rows, smk.input.evaluation), strict=True))
    pattern = restore_pattern(params.pattern)
    shots = read_shots(smk.input.train, paths) if paths else {}
    return AdaptationJob(
        cell=cell,
        seeds=seeds,
        status=_check_window(smk, cell, pattern, rows, shots, uses_context),
        labels=int(params.labels),
        pattern=pattern,
        settings=dict(params.method),
        model=dict(params.model),
        model_manifest=Path(smk.input.model),
        evaluation=tuple(
            EvaluationSet(each["set"], tuple(each["merge"]), rows[each["set"]])
            for each in params.evaluation
        ),
        shots=shots,
        batch_tokens=dict(params.batch_tokens),
        placement=read_placement(smk.resources),
        threads=int(smk.threads),
        processes=read_process_group(),
        checksums=_checksums(smk, sets, paths),
        code=params.code,
        output=smk.output,
        predicted_gpu_mb=int(smk.resources.get("predicted_gpu_mb", 0)),
    )


def _check_window(
    smk, cell: dict, pattern: Pattern, rows: dict, shots: dict, uses_context: bool
) -> dict[int, str]:
    """Return seed → "ok" or "does not fit", by the function that tells it in advance."""
    settings, params = smk.params.method, smk.params
    checker = WindowChecker(
        load_tokenizer(smk.input.model),
        {pattern.name: pattern},
        rows,
        {("own", cell["k"], seed): drawn for seed, drawn in shots.items()},
    )
    own = {
        **{name: cell[name] for name in ("method", "pattern", "k")},
        "seeds": params.seeds,
        "draw": "own",
        "uses_context": uses_context,
        "needs_words": settings["head"] == "language-model",
        "virtual_tokens": settings.get("virtual_tokens", 0),
        "truncate": settings.get("truncate"),
    }
    checked = check_cells(checker, cell, [own], params.model["window"])
    return {int(row["seed"]): str(row["status"]) for row in checked}


def _checksums(smk, sets: list[str], shots: dict[int, str]) -> dict[str, object]:
    """Return the checksums of model, evaluation rows and draws."""
    files = storage.read_json(smk.input.model, "files")["files"]
    evaluated = zip(sets, smk.input.evaluation, strict=True)
    data = {f"{name}/validation": storage.sha256(path) for name, path in evaluated}
    if shots:
        data[f"{smk.wildcards.task}/train"] = storage.sha256(smk.input.train)
    model = storage.frame_checksum([[json.dumps(files, sort_keys=True)]])
    return {"model": model, "data": data, **describe_draws(shots)}
