"""Score label words as continuations of prompts; the one scorer of all methods.

The tokens that all prompts share are encoded once (`prefix_attention.py`). Rows are cut into
canonical batches by a pure function of their lengths and a constant (`packing.py`), so that
predictions do not depend on memory, processes or order. Only positions that predict a label word
meet the readout.
"""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..models.parts import readout
from ..prompts.patterns import best_words, exact_ties, ranking
from ..prompts.tokenize import Prompts
from ..runtime.processes import ProcessGroup
from .packing import PackedSequence, canonical_batches, halves, length_of
from .prefix_attention import routed
from .reader import Reader, out_of_memory
from .routes import ReadingPlan, evaluating, plan_reading

log = logging.getLogger(__name__)

PROGRESS = 10.0
"""Seconds between two lines of progress."""
TIE = 2e-5
"""Difference of two log-probabilities, each good to 1e-5, below which another way to cut rows may
turn a prediction."""


@dataclass(frozen=True)
class Scores:
    """One entry per row, in the order of the prompts' ids.

    logprobs: float32 [rows, labels], log-probability of each label word over the vocabulary, for
    words of several tokens the sum over them; logsumexp: float32 [rows], the normaliser behind the
    prompt; argmax_is_label: bool [rows], whether the most probable token there starts a label
    word; tokens: int16 [rows, labels], the tokens of each word. Words are ranked by `rank_by`, the
    "sum" or the "mean" over tokens. `route` is "shared prefix", "packed" (rows that begin alike),
    or "plain", with a reason where it could have been either. `tokens_read` counts tokens without
    padding, `splits` batches that were halved as memory ran out.
    """

    logprobs: np.ndarray
    logsumexp: np.ndarray
    argmax_is_label: np.ndarray
    tokens: np.ndarray
    route: str
    tokens_read: int
    splits: int = 0
    rank_by: str = "sum"

    @property
    def ranking(self) -> np.ndarray:
        """Return what is largest for the predicted label, float64 [rows, labels]."""
        return ranking(self.logprobs, self.tokens, self.rank_by)

    def best_words(self, ids: np.ndarray) -> np.ndarray:
        """Return each row's highest-ranked label word, given the rows' ids; see patterns."""
        return best_words(self.ranking.T, ids)

    @property
    def exact_ties(self) -> int:
        """Return the rows of which several label words rank exactly alike and highest."""
        return exact_ties(self.ranking.T)

    @property
    def ties(self) -> int:
        """Return the rows whose two best label words differ by less than `TIE`."""
        gaps = np.diff(np.sort(self.ranking, axis=1), axis=1)[:, -1:]
        return int((gaps < TIE).sum())


def score(
    model: nn.Module,
    prompts: Prompts,
    *,
    batch_tokens: int,
    head: nn.Module | None = None,
    processes: ProcessGroup | None = None,
    sharded: bool = False,
    rank_by: str = "sum",
    pause: Callable[[], None] = lambda: None,
    plan: ReadingPlan | None = None,
) -> Scores:
    """Return the scores of each prompt's label words as its continuation.

    `head`, from hidden states [n, width] to logits [n, labels], takes the place of the readout
    over the vocabulary (the words are then its classes). The processes of `processes` share the
    batches; each gets all scores. If `sharded`, none of them can read without the others (ZeRO
    stage 3). `rank_by` says whether the sum or the mean over a word's tokens ranks it. `pause` is
    called before each round of batches, by all processes as often. `plan` is that of the prompts,
    found here if not given. Model and head are scored in evaluation mode and come back as they
    were. Raises UserError for a prompt longer than the model's window, and for a row that does not
    fit in memory.
    """
    if len(prompts.words) != len(prompts.ids):
        raise ValueError("prompts without label words cannot be scored")
    plan = plan or plan_reading(model, prompts, head)
    route, tokens = plan.route, 1 if plan.alone else batch_tokens
    head = readout(model) if head is None else head
    with evaluating(model, head), routed(model) if route.routed else nullcontext():
        reader = Reader(model, prompts, route)
        run = _Run(reader, plan.sequences, head, tokens, processes or ProcessGroup(), sharded)
        scores = run.scores(pause)
    if plan.reason:
        log.warning("every row is read whole and by itself, since %s", plan.reason)
        scores = replace(scores, route=f"plain: {plan.reason}")
    return replace(scores, rank_by=rank_by)


class _Run:
    """One pass over all rows: batches in their order, halved where memory runs out."""

    def __init__(
        self,
        reader: Reader,
        sequences: list[PackedSequence],
        head: nn.Module,
        batch_tokens: int,
        processes: ProcessGroup,
        sharded: bool,
    ):
        self.reader, self.head, self.processes, self.sharded = reader, head, processes, sharded
        prompts = reader.prompts
        lengths = [len(reader.start) + length_of(prompts, sequence) for sequence in sequences]
        batches = canonical_batches(lengths, batch_tokens)
        self.tokens_read = sum(lengths) + len(prompts.prefix) - len(reader.start)
        portions = processes.portions([len(batch) * lengths[batch[-1]] for batch in batches])
        self.batches = [[sequences[i] for i in batches[j]] for j in portions[processes.rank]]
        self.rounds = max(map(len, portions))
        # Where no process can read alone, one with less to do reads a row again.
        self.idle = [sequences[batches[0][0]]] if sharded else None
        rows, labels = len(prompts.ids), len(prompts.words[0])
        self.logprobs = np.zeros((rows, labels))
        self.normaliser = np.zeros(rows, dtype=np.float32)
        self.argmax = np.zeros(rows, dtype=np.int8)
        self.splits = 0
        self._waiting: tuple | None = None

    def scores(self, pause: Callable[[], None]) -> Scores:
        """Read all batches and return every process's scores to each."""
        started = reported = time.monotonic()
        done, count = 0, sum(map(_rows, self.batches))
        for place in range(self.rounds):
            pause()
            if place >= len(self.batches):
                if self.idle:
                    self._forward(self.idle)
                continue
            batch = self.batches[place]
            self._read(batch)
            done += _rows(batch)
            now = time.monotonic()
            # A set that took no time is not worth a line: training scores after every epoch.
            if now - reported >= PROGRESS or (done == count and now - started >= 1.0):
                reported = now
                log.info("%d of %d rows, %.1f rows/s", done, count, done / max(now - started, 1e-9))
        self._enter()
        logprobs, normaliser, argmax, splits = (
            self.processes.sum(torch.from_numpy(part)).numpy()
            for part in (self.logprobs, self.normaliser, self.argmax, np.array([self.splits]))
        )
        words = [[len(word) for word in each] for each in self.reader.prompts.words]
        return Scores(
            logprobs.astype(np.float32), normaliser, argmax.astype(bool),
            np.array(words, dtype=np.int16), self.reader.route.name, self.tokens_read,
            int(splits[0]),
        )  # fmt: skip

    def _read(self, batch: list[PackedSequence]) -> None:
        try:
            made = self._forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            made = None
        # The batch before this one is fetched while a GPU works on this one.
        self._enter()
        self._waiting = made
        if made is not None:
            return
        # Outside the handler, whose traceback holds on to the tensors that did not fit.
        parts = self._halves(batch)
        if self.reader.device.type == "cuda":
            torch.cuda.empty_cache()
        self.splits += 1
        for part in parts:
            self._read(part)

    def _halves(
        self, batch: list[PackedSequence]
    ) -> tuple[list[PackedSequence], list[PackedSequence]]:
        prompts, longest = self.reader.prompts, batch[-1]
        tokens = len(self.reader.start) + length_of(prompts, longest)
        if self.sharded and self.processes.size > 1:
            raise UserError(
                f"memory ran out on a batch of {_rows(batch)} rows of up to {tokens} tokens, which "
                "cannot be halved where processes share the weights: lower batch_tokens"
            )
        parts = halves(batch)
        if parts is None:
            raise UserError(
                f"row {prompts.ids[longest.rows[0][0]]}: reading its {tokens} tokens alone takes "
                "more memory than there is; use a larger machine or a smaller model"
            )
        log.warning(
            "memory ran out on %d rows of up to %d tokens: halved (results may differ by rounding)",
            _rows(batch), tokens,
        )  # fmt: skip
        return parts

    def _forward(self, batch: list[PackedSequence]) -> tuple:
        """Return a batch's log-probabilities, normalisers and top tokens with its layout."""
        hidden, layout = self.reader.hidden(batch)
        logits = self.head(hidden).float()
        total = torch.logsumexp(logits, dim=-1)
        read, token = (
            torch.from_numpy(layout.targets[:, i]).to(logits.device, non_blocking=True)
            for i in (0, 3)
        )
        return logits[read, token] - total[read], total, logits.argmax(dim=-1), layout

    def _enter(self) -> None:
        """Enter the results of the batch that is waiting, if one is."""
        if self._waiting is None:
            return
        found, total, top, layout = self._waiting
        self._waiting = None
        _, row, word, _ = layout.targets.T
        # In order and in double precision: a word's tokens add up alike everywhere.
        np.add.at(self.logprobs, (row, word), found.double().cpu().numpy())
        read, row = layout.trunks.T
        self.normaliser[row] = total.cpu().numpy()[read]
        words = self.reader.prompts.words
        self.argmax[row] = [
            any(token == each[0] for each in words[i])
            for token, i in zip(top.cpu().numpy()[read].tolist(), row.tolist(), strict=True)
        ]


def _rows(batch: list[PackedSequence]) -> int:
    """Return how many rows' first words are read off in a batch."""
    return sum(0 in words for sequence in batch for _, words in sequence.rows)
