"""A cell of a finished study, taken up again: its model with the shots of a seed.

Its shots stand in the context again, or the parameters that it keeps are put back into the model.
Nothing is known here of studies, so that no edit of what reads them measures latencies anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from .. import storage
from ..adaptation.in_context import averaged, tokenized
from ..adaptation.job import AdaptationJob
from ..adaptation.job_prompts import JobPrompts
from ..adaptation.outputs import Phases
from ..adaptation.setup import InitialModel
from ..adaptation.starting_points import read_files
from ..adaptation.weights import put_weights, read_weights
from ..analysis.label_probabilities import label_weights, probabilities
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..models.files import verify_files
from ..models.load import load_model, pick_device
from ..models.parts import virtual_ids
from ..models.tokenizer import load_tokenizer
from ..prompts.tokenize import Prompts
from ..scoring.score import Scores, score
from .cells import adapter_file, check_seed, read_finished, restored

NEW = "new texts"
"""The name of what is scored, which no task can have."""


@dataclass(frozen=True)
class RowReading:
    """How a job reads rows: their prompts behind each of its contexts, most have one, whose text
    has so many bytes."""

    job: AdaptationJob
    prompts: list[Prompts]
    context_bytes: int


class AdaptedModel:
    """A language model with the shots of one seed: in its context, or learned from.

    `model` is the language model, and `head` what takes the place of its readout, if anything does.
    It is `trained` where its parameters were, and `restored` where these are the run's.
    """

    def __init__(self, told: Mapping, seed: int, start: bool = False):
        """Load what `study.exchange_inputs.told_job` tells of, for one seed of the run.

        With `start`, a run that keeps no parameters is taken up as its training started.
        """
        manifest = read_finished(told)
        check_seed(manifest, seed, told["folder"])
        verify_files(told["manifest"])
        self.seed, self._told = seed, told
        self._tokenizer = load_tokenizer(told["manifest"])
        self.trained, self.restored = "epochs" in told["method"], True
        if not self.trained:
            self.head, self.model = None, self._base().to(pick_device())
            return
        self.restored = bool(manifest["seeds"][str(seed)].get("adapters")) or not start
        path = adapter_file(told, manifest, seed) if self.restored else None
        # Rows to set the job up with, of which nothing is scored.
        job = self._job(storage.read_rows(told["evaluation"][0]["path"]).head(1))
        if told["start"]:
            tasks = told["method"]["start_from"]["tasks"]
            job = replace(job, starts=read_files(told["start"], tasks, [seed]))
        origin = InitialModel(job, self._base)
        prompts = JobPrompts(job, origin.virtual_ids).of_seed(seed)
        trained = origin.start(seed, job.placement, pick_device(), prompts)
        if path:
            put_weights(trained, read_weights(path, trained))
        self.model, self.head = trained.model, trained.head

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of the labels."""
        return tuple(self._told["labels"])

    def predict(self, rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
        """Return for each row its `label` and, in a column for each label, its probability.

        A row has `text_a` and, where the task has two texts, `text_b`. Probabilities are those of
        the labels' words, given that it is one of them. Raises UserError for a row that lacks a
        text, and for one that does not fit the model's window.
        """
        scores = self._scores(self.reading(_frame(rows, self._told)))
        ranks = list(scores.ranking.T)
        shares = probabilities(label_weights(ranks, range(len(ranks)), len(ranks)))
        best = scores.best_words(np.arange(len(rows)))
        label = [self.labels[number] for number in best]
        return pd.DataFrame({"label": label, **dict(zip(self.labels, shares.T, strict=True))})

    def reading(self, rows: pd.DataFrame) -> RowReading:
        """Return how prepared rows (schemas.ROWS) are read; raises UserError for label words that
        cannot be told apart."""
        job = self._job(rows)
        if self.trained:
            read = JobPrompts(job, virtual_ids(self.model)).of_seed(self.seed)
            return RowReading(job, [read.sets.whole[NEW].prompts], read.context_bytes)
        shown, (item,) = tokenized(job)(job, self.seed, self.model, Phases(), False), job.evaluation
        prompts = [shown.prompts(item, number) for number in range(shown.contexts)]
        return RowReading(job, prompts, shown.kept_bytes)

    def _base(self) -> torch.nn.Module:
        told = self._told
        return load_model(told["manifest"], told["model"], told["cell"]["model"])

    def _job(self, rows: pd.DataFrame) -> AdaptationJob:
        """Return the job of the run with these rows to score."""
        item = EvaluationSet(NEW, tuple(range(len(self.labels))), rows, label_names=self.labels)
        return restored(self._told, self.seed, (item,), self._tokenizer)

    def _scores(self, reading: RowReading) -> Scores:
        job = reading.job
        return averaged([
            score(
                self.model, prompts, batch_tokens=job.batch_tokens_on(pick_device().type),
                head=self.head, rank_by=job.pattern.rank_by, characters=job.pattern.characters,
            )
            for prompts in reading.prompts
        ])  # fmt: skip


def _frame(rows: Sequence[Mapping[str, object]], told: Mapping) -> pd.DataFrame:
    """Return new rows as prepared ones (schemas.ROWS), numbered from 0."""
    fields = sorted({field for _, field in told["pattern"]["parts"] if field})
    for number, row in enumerate(rows):
        for field in fields:
            if not isinstance(row.get(field), str):
                raise UserError(f"row {number}: {field} is {row.get(field)!r}, not text")
    texts = {field: [row.get(field) for row in rows] for field in ("text_a", "text_b")}
    blank = dict.fromkeys(("group", "subset", "cluster"))
    return pd.DataFrame({"id": range(len(rows)), **texts, "label": 0, **blank})
