"""What a system under comparison is asked to do and gives back; and this project's own loop.

The other systems are in `trainers.py`. All take the same rows in the same batches, the same AdamW,
rate schedule, clipping and loss: the cross-entropy over the vocabulary at the answer position.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from fewshot.adaptation import setup as setup_module
from fewshot.adaptation import training
from fewshot.adaptation.job import AdaptationJob
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.prompts.patterns import Pattern
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from torch import nn

from . import adapter
from .cases import WINDOW

WARM_ROWS = 2


@dataclass(frozen=True)
class Work:
    """What a system is to do: train on `shots`, scoring `own` (both schemas.ROWS) every epoch.

    `settings` are those of a method in config/methods.yaml, `batch_tokens` the padded tokens of
    fairshot's scoring batches. With `dtype` "bfloat16" fairshot trains bfloat16 weights beside
    their float32 originals (ZeRO), the Trainer float32 weights under autocast.
    """

    tokenizer: object
    pattern: Pattern
    task: str
    model: str
    seed: int
    shots: pd.DataFrame = field(repr=False)
    own: pd.DataFrame = field(repr=False)
    settings: dict
    dtype: str
    device: str
    threads: int
    batch_tokens: int
    scratch: str

    def short(self) -> "Work":
        """Return the work of a warm-up: one batch, one epoch, few rows to score."""
        return replace(
            self,
            shots=self.shots.iloc[: self.settings["batch_size"]],
            own=self.own.iloc[:WARM_ROWS],
            settings={**self.settings, "epochs": 1},
        )


@dataclass(frozen=True)
class Trained:
    """What a training run gave.

    losses: the mean loss of each epoch, of the passes before each step. logprobs [rows, labels]:
    the label words' log-probabilities of the work's own rows after the last epoch. The seconds are
    those of all epochs. `scorer(rows)` returns the function that scores further rows.
    """

    losses: list[float]
    logprobs: np.ndarray
    steps: int
    train_seconds: float
    score_seconds: float
    scored_rows: int
    scorer: Callable[[pd.DataFrame], Callable[[], object]]


def fairshot(model: nn.Module, work: Work) -> Trained:
    """Train with this project's loop. `scorer` reads with the weights from before: the job lets go
    of its trained copy, and other values take as long."""
    job = _job(model, work)
    setup = setup_module.set_up(job, lambda: model, work.tokenizer)
    with tempfile.TemporaryDirectory(dir=work.scratch) as folder:
        result = training.train_seed(setup, work.seed, Path(folder))
    curve = result.curves[result.curves["evaluation_set"] == "train"].sort_values("epoch")
    last = result.predictions["epoch"] == work.settings["epochs"]
    words = [f"logprob_{label}" for label in range(job.labels)]

    def scorer(rows: pd.DataFrame) -> Callable[[], object]:
        made = adapter.scorer(work.tokenizer, work.pattern, "", texts(work, rows))
        weights = model.to(work.device)
        return lambda: made.run(weights, work.batch_tokens)

    return Trained(
        losses=(-curve["mean_logprob"]).tolist(),
        logprobs=result.predictions.loc[last, words].to_numpy(),
        steps=result.facts["steps"],
        train_seconds=result.seconds["train"],
        score_seconds=sum(result.seconds.get(each, 0.0) for each in ("curve", "score")),
        scored_rows=result.facts["scored_rows"],
        scorer=scorer,
    )


def _job(model: nn.Module, work: Work) -> AdaptationJob:
    """Return a job as Snakemake's script would read it, made in memory."""
    names = ("protocol", "task", "model", "method", "pattern")
    values = ("fair", work.task, work.model, "pattern-ft", work.pattern.name)
    labels = len(work.pattern.words)
    return AdaptationJob(
        cell={**dict(zip(names, values, strict=True)), "k": len(work.shots)},
        seeds=(work.seed,),
        status={work.seed: "ok"},
        labels=labels,
        pattern=work.pattern,
        settings=work.settings,
        model={
            "dtype": work.dtype,
            "parameters": sum(each.numel() for each in model.parameters()),
            "window": WINDOW,
        },
        model_manifest=None,
        evaluation=(EvaluationSet(work.task, tuple(range(labels)), work.own),),
        shots={work.seed: work.shots},
        batch_tokens={"cpu": work.batch_tokens, "gpu": work.batch_tokens},
        # The engine refuses bfloat16 at stage 0.
        placement=Placement(0 if work.dtype == "float32" else 1),
        threads=work.threads,
        processes=ProcessGroup(),
        checksums={},
        code="",
        output=SimpleNamespace(),
    )


def texts(work: Work, rows: pd.DataFrame) -> list[str]:
    """Return the rows as queries."""
    pairs = zip(rows["text_a"], rows["text_b"], strict=True)
    return [work.pattern.query(a, b) for a, b in pairs]
