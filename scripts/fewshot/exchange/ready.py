"""Prompts that a model is ready to read: what they begin with is encoded, and stays so."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ..adaptation.in_context import averaged
from ..adaptation.job import AdaptationJob
from ..models.load import pick_device
from ..models.parts import learned_prefix, readout
from ..prompts.tokenize import Prompts
from ..runtime.processes import ProcessGroup
from ..scoring.packing import PackedSequence, pack_rows
from ..scoring.passes import Pass
from ..scoring.prefix_attention import routed
from ..scoring.reader import Reader
from ..scoring.routes import ReadingPlan, evaluating, plan_reading
from ..scoring.score import WordScores
from ..scoring.scores import Scores


@dataclass(frozen=True)
class Part:
    """Prompts behind one context, their plan, what reads them, and the sequences of each row where
    it is read alone."""

    prompts: Prompts
    plan: ReadingPlan
    reader: Reader
    alone: list[list[PackedSequence]]


class Ready:
    """Rows behind the contexts of a job: all at once (`every`), or one alone. `splits` are the
    batches that were halved, as memory ran out, when all rows were last read."""

    def __init__(self, parts: list[Part], head: nn.Module, job: AdaptationJob):
        self.parts, self.head, self.job = parts, head, job
        self.splits = 0

    def every(self) -> Scores:
        """Return the scores of all rows, read in full batches."""
        passes = [self._pass(part, part.plan.sequences) for part in self.parts]
        logprobs = [reading.run()[0] for reading in passes]
        self.splits = sum(reading.splits for reading in passes)
        return self._scores(logprobs)

    def one(self, row: int) -> list[np.ndarray]:
        """Return for each context log-probabilities [prompts, words], of which those of one row
        were read."""
        return [self._pass(part, part.alone[row]).run()[0] for part in self.parts]

    def one_by_one(self, rows: int) -> Scores:
        """Return the scores of the first rows, each read by itself; of the others none."""
        found = [self.one(row) for row in range(rows)]
        return self._scores([sum(of_part) for of_part in zip(*found, strict=True)])

    @property
    def batches(self) -> int:
        """Return how many batches all rows are cut into, behind each context."""
        return sum(len(self._pass(part, part.plan.sequences).batches) for part in self.parts)

    @property
    def cache_bytes(self) -> int:
        """Return the size of the keys and values of contexts that are encoded: not of those that
        are learned, which are parameters."""
        if learned_prefix(self.parts[0].reader.model) is not None:
            return 0
        held = [pair for part in self.parts for pair in part.reader.prefix.layers.values()]
        return sum(each.numel() * each.element_size() for pair in held for each in pair)

    def _pass(self, part: Part, sequences: list[PackedSequence]) -> Pass:
        found = WordScores(part.prompts, self.head, ProcessGroup())
        tokens = 1 if part.plan.alone else self.job.batch_tokens_on(part.reader.device.type)
        return Pass(part.reader, sequences, found, tokens, ProcessGroup(), False)

    def _scores(self, found: list[np.ndarray]) -> Scores:
        """Return the scores of rows as `score` does: of their log-probabilities behind each
        context the mean."""
        pattern, scores = self.job.pattern, []
        for part, logprobs in zip(self.parts, found, strict=True):
            per_row = part.prompts.per_row
            tokens = np.array([[len(word) for word in words] for words in part.prompts.words])
            shape = (-1, per_row) if per_row > 1 else logprobs.shape
            both = logprobs.astype(np.float32).reshape(shape), tokens.reshape(shape)
            told = part.plan.route.name, 0, 0, pattern.rank_by, pattern.characters
            scores.append(Scores(both[0], None, None, both[1], *told))
        return averaged(scores)


@contextmanager
def ready(
    model: nn.Module, head: nn.Module | None, job: AdaptationJob, prompts: Sequence[Prompts],
    whole: bool = False,
) -> Iterator[Ready]:  # fmt: skip
    """Yield prompts, those behind each context of a job, as the model is ready to read them.

    Each row is read `whole` and for itself, as by a service that keeps nothing; or else as the
    scorer reads: what all begin with is encoded now, and rows that begin alike share that. Model
    and head come back as they were. Raises UserError as `plan_reading` does.
    """
    if whole:
        prompts = [_unshared(each) for each in prompts]
    plans = [plan_reading(model, each, head) for each in prompts]
    own = readout(model) if head is None else head
    through = all(plan.route.routed for plan in plans)
    with evaluating(model, own), routed(model) if through else nullcontext():
        parts = []
        for each, plan in zip(prompts, plans, strict=True):
            alone = _one_by_one(each, plan.route.forks)
            if whole:
                sequences = [sequence for of_row in alone for sequence in of_row]
                plan = replace(plan, sequences=sequences)
            parts.append(Part(each, plan, Reader(model, each, plan.route), alone))
        yield Ready(parts, own, job)


def shares_context(model: nn.Module, prompts: Sequence[Prompts], head: nn.Module | None) -> bool:
    """Return whether the model can read rows behind each of their contexts, encoded once."""
    if learned_prefix(model) is not None:
        return False
    return all(plan_reading(model, each, head).route.shared for each in prompts)


def first_rows(prompts: Prompts, rows: int) -> Prompts:
    """Return the prompts of the first rows, behind the prefix that all have."""
    count = rows * prompts.per_row
    return replace(
        prompts, ids=prompts.ids[:count], suffixes=prompts.suffixes[:count],
        words=prompts.words[:count],
    )  # fmt: skip


def filling(prompts: Prompts, tokens: int, shared: bool) -> int:
    """Return how many of the first rows one full batch holds, behind a prefix that is `shared` or
    each with its own: one at least."""
    start = 0 if shared else len(prompts.prefix)
    lengths = np.array([start + len(own) for own in prompts.suffixes])
    longest = np.maximum.accumulate(lengths.reshape(-1, prompts.per_row).max(axis=1))
    padded = longest * prompts.per_row * np.arange(1, len(longest) + 1)
    return max(1, int(np.searchsorted(padded, tokens, side="right")))


def wait(device: torch.device | None = None) -> None:
    """Wait until a GPU has done what it was given."""
    device = device or pick_device()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _unshared(prompts: Prompts) -> Prompts:
    """Return prompts that share nothing."""
    return replace(prompts, prefix=(), suffixes=[prompts.prefix + own for own in prompts.suffixes])


def _one_by_one(prompts: Prompts, forks: bool) -> list[list[PackedSequence]]:
    """Return the sequences of each row, none of which holds another row: with its label words
    behind it where sequences may fork, else one for each longer word."""
    rows = [[] for _ in range(len(prompts.ids) // prompts.per_row)]
    if forks:
        sequences = [
            PackedSequence(((row, tuple(range(len(words)))),), len(prompts.suffixes[row]))
            for row, words in enumerate(prompts.words)
        ]
    else:
        sequences = pack_rows(prompts, forks=False)
    for sequence in sequences:
        rows[sequence.rows[0][0] // prompts.per_row].append(sequence)
    return rows
