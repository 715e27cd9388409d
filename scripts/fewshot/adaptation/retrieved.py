"""Shots by row: each evaluation row is shown those of the draw that are most like it.

The first `cached` shots stand in front of every row, in their order, and are read once: they are
the prompts' common prefix, which the scorer finds. Behind them a row has the `shown` of the others
that are most similar to it, the most similar last ("many cached, few similar", arXiv 2507.16217).
Evaluation rows are looked at one by one, and none is ever shown.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ..data.evaluation_sets import EvaluationSet
from ..methods import retrieval
from ..prompts.label_words import label_words
from ..prompts.tokenize import Prompts, Queries
from . import outputs
from .in_context import SeedPrompts
from .job import AdaptationJob
from .row_states import read_states

PHASE = "retrieve"


@dataclass(frozen=True)
class _Known:
    """What rows are compared by (`values`), and what of the model's reading is counted."""

    values: object
    counts: dict[str, int] | None = None


class RetrievedShots:
    """The rows of a job's evaluation sets, each to be read behind shots of its own."""

    def __init__(self, job: AdaptationJob):
        self.job, self.tokenizer = job, job.queries.tokenizer
        self._sets: dict[str, _Known] = {}
        self._seconds = 0.0
        for item in job.evaluation:
            first = job.pattern.queries(item.rows.head(1))[0]
            label_words(self.tokenizer, job.pattern, first)

    def of_seed(
        self,
        job: AdaptationJob,
        seed: int,
        model: torch.nn.Module,
        phases: outputs.Phases,
        sharded: bool,
    ) -> SeedPrompts:
        """Return how rows are read for a seed; evaluation rows are read by the model once for all
        seeds, each of which is told the whole time. Raises UserError as `read_states` does."""
        settings, shots = job.settings, job.shots[seed]
        cached = min(settings["cached"], len(shots))
        pool = shots.iloc[cached:]
        if not self._sets:
            timed = outputs.Phases()
            with timed.measure(PHASE):
                for item in job.evaluation:
                    self._sets[item.name] = self._known(item.rows, model, sharded)
            self._seconds = timed.seconds[PHASE]
        with phases.measure(PHASE):
            # In a fold of cross-validation all shots may be cached.
            known = self._known(pool, model, sharded) if len(pool) else _Known(np.zeros((0, 1)))
            chosen = {
                name: retrieval.most_similar(self._scores(known, of), settings["shown"])
                for name, of in self._sets.items()
            }
        phases.seconds[PHASE] += self._seconds
        # Processes that share rows must agree on them to the letter, whatever rounds elsewhere.
        chosen = job.processes.broadcast(chosen)
        front = job.pattern.context_of(shots.iloc[:cached])
        solved = [_demonstration(job, pool, place) for place in range(len(pool))]

        def prompts(item: EvaluationSet, _: int) -> Prompts:
            return self._prompts(item, front, solved, chosen[item.name])

        kept = len(job.pattern.context_of(shots).encode())
        counts = {name: of.counts for name, of in self._sets.items() if of.counts}
        return SeedPrompts(
            contexts=1,
            prompts=prompts,
            kept_bytes=kept + (known.values.nbytes if self._reads_states else 0),
            content_free=False,
            facts={"index": known.counts} if known.counts else {},
            of_set={name: {"states": of} for name, of in counts.items()},
        )

    def _scores(self, pool: _Known, rows: _Known) -> np.ndarray:
        """Return how like each row each of the pool is [rows, pool]."""
        if not len(pool.values):
            return np.zeros((len(rows.values), 0))
        compare = retrieval.cosine if self._reads_states else retrieval.bm25
        return compare(pool.values, rows.values)

    @property
    def _reads_states(self) -> bool:
        return self.job.settings["similarity"] == "states"

    def _known(self, rows: pd.DataFrame, model: torch.nn.Module, sharded: bool) -> _Known:
        """Return what rows are compared by: their states, or their texts, a line each."""
        if not self._reads_states:
            texts = zip(rows["text_a"], rows["text_b"], strict=True)
            return _Known([f"{a}\n{b}" if isinstance(b, str) else a for a, b in texts])
        phases = outputs.Phases()
        prompts, states = read_states(self.job, model, rows, phases, sharded)
        return _Known(states.values, outputs.prompt_tokens(prompts, states))

    def _prompts(
        self, item: EvaluationSet, front: str, solved: list[str], chosen: np.ndarray
    ) -> Prompts:
        """Return the prompts of a set, whose rows are shown the shots `chosen` [rows, shown]."""
        pattern = self.job.pattern
        texts = [
            front + "".join(solved[place] for place in places) + query
            for places, query in zip(chosen, pattern.queries(item.rows), strict=True)
        ]
        names = [f"{item.name}/{number}" for number in item.rows["id"]]
        queries = Queries(
            self.tokenizer, texts, names, pattern.words, pattern.words_alone, pattern.adds_special
        )
        return queries.prompts("")


def _demonstration(job: AdaptationJob, rows: pd.DataFrame, place: int) -> str:
    row = rows.iloc[place]
    return job.pattern.demonstration(int(row["label"]), row["text_a"], row["text_b"])
