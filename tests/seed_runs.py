"""Jobs made in memory on tiny models, the seeds that they train, and ways to interrupt these."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from fewshot import schemas, storage
from fewshot.adaptation import setup
from fewshot.adaptation.job import AdaptationJob
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.prompts.patterns import restore_pattern
from fewshot.prompts.set_queries import SetQueries
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.runtime.stop import Stop
from job_files import PATTERN, TRAINING, some_rows
from tiny import tiny_model, tiny_tokenizer

SETTINGS = {**TRAINING, "weight_decay": 0.1, "gradient_clip": 1e9, "keep_weights": True}
K = 10
PLACEMENTS = {
    "plain": (Placement(), "float32"),
    "pieces": (Placement(micro_tokens=16), "float32"),
    "recomputed": (Placement(checkpointing=True), "float32"),
    "stage 1": (Placement(1), "float32"),
    "stage 2, half": (Placement(2), "bfloat16"),
    "stage 3": (Placement(3), "float32"),
    "optimizer on the host": (Placement(2, "optimizer"), "float32"),
    "all on the host": (Placement(3, "parameters", checkpointing=True), "float32"),
}


def a_job(
    placement: int | Placement = 0, seeds=(0,), dtype: str = "float32", processes=None, **settings
) -> AdaptationJob:
    sets = (
        EvaluationSet("task", (0, 1), some_rows(24, "own"), label_names=("no", "yes")),
        EvaluationSet("other", (1, 0), some_rows(11, "other"), label_names=("false", "true")),
    )
    names = ("protocol", "task", "model", "method", "pattern")
    return AdaptationJob(
        cell={**dict(zip(names, ("fair", "task", "tiny", "ft", "minimal"), strict=True)), "k": K},
        base="task",
        seeds=tuple(seeds),
        status=dict.fromkeys(seeds, "ok"),
        labels=("no", "yes"),
        pattern=PATTERN,
        settings={**SETTINGS, **settings},
        model={"dtype": dtype, "parameters": 1, "window": 128},
        model_manifest=None,
        evaluation=sets,
        shots={seed: some_rows(K, f"shots{seed}") for seed in seeds},
        batch_tokens={"cpu": 256, "gpu": 256},
        placement=placement if isinstance(placement, Placement) else Placement(placement),
        threads=1,
        processes=processes or ProcessGroup(),
        checksums={},
        code="",
        output=SimpleNamespace(),
        train_patterns=tuple(map(restore_pattern, settings.get("train_patterns", ()))),
    )


def reading(job: AdaptationJob, tokenizer) -> AdaptationJob:
    """Return a job whose rows are read with a tokenizer."""
    return replace(job, queries=SetQueries(tokenizer))


class StopAfter(Stop):
    """A process that is told to end at its n-th look, between steps and within scoring."""

    def __init__(self, looks: int):
        super().__init__()
        self.looks = looks

    def agreed(self, processes: ProcessGroup) -> bool:
        self.looks -= 1
        return self.looks < 0


def set_up(kind: str, job, dropout: float = 0.1, attention: float | None = None):
    def source():
        return tiny_model(kind, dropout, attention=attention).to(getattr(torch, job.model["dtype"]))

    torch.set_num_threads(1)
    return setup.set_up(reading(job, tiny_tokenizer(kind)), source)


def outcome(result) -> list[bytes]:
    """Return the bytes of what a job stores of a seed: curves, predictions, weights."""
    for number, write in enumerate(result.files.values()):
        write(Path(f"weights{number}"))
    storage.write_table("curves", result.curves, schemas.CURVES)
    storage.write_table("predictions", result.predictions, schemas.predictions_schema(2))
    assert result.files
    return [Path(name).read_bytes() for name in ("curves", "predictions", "weights0")]
