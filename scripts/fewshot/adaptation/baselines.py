"""Baselines: classifiers of the shots' labels, words, or hidden states of the frozen model.

They get the rows, shots and evaluation sets of every other method, and store what these store. A
family's module of `methods` has one function, `fit`, from what is read of the shots, their labels,
the number of labels and the method's settings to a `Fitted`.
"""

import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..methods.fitted import Fitted
from ..scoring.scores import Scores
from . import outputs
from .job import AdaptationJob
from .seeds import SeedResult

LOG = logging.getLogger(__name__)

EPOCH = 0
"""Nothing of the model is trained."""
TOKENS = ("shared_tokens", "own_tokens", "own_squares", "longest_tokens", "tokens_read")
SHARED = ("tokenize", "score")
"""Phases in which evaluation rows are read for all seeds at once. Each seed is told their whole
time: who has one classifier waits as long for it."""


@dataclass(frozen=True)
class ReadRows:
    """What a classifier gets of some rows (`values`), and what reading them took: `counts` as
    `outputs.prompt_tokens` has them, and other `facts`."""

    values: object
    counts: dict[str, int]
    facts: dict[str, object]


class TextReader:
    """Gives a classifier the texts of rows; no model reads them."""

    def __init__(self, job: AdaptationJob):
        self.pattern = job.pattern

    def read(self, rows: pd.DataFrame, phases: outputs.Phases) -> ReadRows:
        """Return the texts of rows (schemas.ROWS), a line each."""
        counts = {"rows": len(rows), **dict.fromkeys(TOKENS, 0)}
        return ReadRows(self.pattern.queries(rows), counts, {})

    def facts(self) -> dict:
        """Return the facts of the process for the manifest."""
        return {**outputs.host_facts(), "parameters": {"total": 0, "modules": []}}


class StateReader:
    """Gives a classifier the states that the frozen model's readout reads behind rows' prompts.

    Prompts are bare queries, as fine-tuned models read them. Several processes share the rows, each
    with the whole model, or its weights too.
    """

    def __init__(self, job: AdaptationJob):
        # Imported here: baselines without a model need no torch, which takes seconds.
        import torch

        from .frozen_model import load_frozen, shards_weights

        torch.set_num_threads(job.threads)
        self.job = job
        self.sharded = shards_weights(job)
        self.model = load_frozen(job, self.sharded)

    def read(self, rows: pd.DataFrame, phases: outputs.Phases) -> ReadRows:
        """Return the states of rows (schemas.ROWS), float32 [rows, width]; raises UserError for
        states that are no numbers."""
        from .row_states import read_states

        prompts, states = read_states(self.job, self.model, rows, phases, self.sharded)
        counts = outputs.prompt_tokens(prompts, states)
        return ReadRows(states.values, counts, {"route": states.route, "splits": states.splits})

    def facts(self) -> dict:
        """Return the facts of the process for the manifest."""
        return outputs.process_facts(self.model)


def start_baseline(job: AdaptationJob) -> Callable[[int], SeedResult]:
    """Read all evaluation rows and return the function that fits a seed's shots and answers them.

    Each draw is read by itself, so that it gives the same bytes whatever other seeds the job has.
    """
    method = importlib.import_module(f"..methods.{job.settings['family']}", __package__)
    phases = outputs.Phases()
    with phases.measure("load"):
        reader = StateReader(job) if job.model_manifest else TextReader(job)
    read = {item.name: reader.read(item.rows, phases) for item in job.evaluation}
    content_free = reader.read(job.content_free.rows, phases)
    LOG.info("%s: %d rows read", job.name, sum(len(item.rows) for item in job.evaluation))
    shared = {phase: phases.seconds.pop(phase, 0.0) for phase in SHARED}

    def run(seed: int) -> SeedResult:
        nonlocal phases
        mine, phases = phases, outputs.Phases()  # loading counts for the first seed
        with mine.measure("train"):
            shots = reader.read(job.shots[seed], outputs.Phases()) if job.shots else None
            gold = job.shots[seed]["label"].to_numpy() if job.shots else np.zeros(0, np.int64)
            fitted = method.fit(shots.values if shots else [], gold, len(job.labels), job.settings)
        predictions, curves, ties = [], [], {}
        for item in job.evaluation:
            with mine.measure("score"):
                scores = scores_of(fitted, read[item.name].values)
            ties[item.name] = scores.exact_ties
            predictions.append(outputs.prediction_frame(job.cell, seed, EPOCH, item, scores))
            curves.append(outputs.curve_frame(job.cell, seed, EPOCH, item, scores))
        for phase, seconds in shared.items():
            mine.seconds[phase] = mine.seconds.get(phase, 0.0) + seconds
        facts = {**reader.facts(), **_work(fitted, shots, read, ties)}
        empty = scores_of(fitted, content_free.values)
        if np.isfinite(empty.logprobs).all():  # JSON has no infinity.
            facts |= outputs.content_free_facts(job, seed, {EPOCH: empty})
        facts["parameters"] = {**facts["parameters"], "trainable": fitted.parameters}
        return SeedResult(
            outputs.mark_epochs(pd.concat(predictions, ignore_index=True), EPOCH, EPOCH),
            pd.concat(curves, ignore_index=True),
            facts,
            mine.seconds,
        )

    return run


def scores_of(fitted: Fitted, rows: object) -> Scores:
    """Return a classifier's answers as scores: probabilities over its labels, which are all that it
    can say, each in one piece."""
    logprobs = fitted.answer(rows).astype(np.float32)
    count = len(logprobs)
    ones = np.ones(logprobs.shape, dtype=np.int16)
    zeros = np.zeros(count, dtype=np.float32)
    return Scores(logprobs, zeros, np.ones(count, dtype=bool), ones, "classifier", 0)


def _work(
    fitted: Fitted, shots: ReadRows | None, read: dict[str, ReadRows], ties: dict[str, int]
) -> dict[str, object]:
    """Return what the manifest tells of a seed's work, in the terms of training: the shots are read
    once, and the classifier is fitted in `steps`; `ties` are rows of which labels rank alike."""
    counts = shots.counts if shots else dict.fromkeys(("rows", *TOKENS), 0)
    shared, own = counts["shared_tokens"], counts["own_tokens"]
    return {
        "steps": fitted.iterations,
        "training": {
            "epochs": 1,
            "rows": counts["rows"],
            "tokens": own + counts["rows"] * shared,
            # Of whole prompts: the sum of (shared + own)².
            "squares": counts["own_squares"] + 2 * shared * own + counts["rows"] * shared**2,
            "learned_keys": 0,
        },
        "kept_bytes": 8 * fitted.kept,
        "scored_rows": sum(rows.counts["rows"] for rows in read.values()),
        "scoring": {
            name: {**rows.counts, **rows.facts, "exact_ties": ties[name]}
            for name, rows in read.items()
        },
    }
