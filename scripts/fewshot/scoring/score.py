"""Score label words as continuations of prompts; the one scorer of all methods.

The tokens that all prompts share are encoded once (`prefix_attention.py`). Rows are cut into
canonical batches by a pure function of their lengths and a constant (`packing.py`), so that
predictions do not depend on memory, processes or order. Only positions that predict a label word
meet the readout.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from ..models.parts import readout
from ..prompts.tokenize import Prompts
from ..runtime.processes import ProcessGroup
from .packing import Layout
from .passes import Pass
from .prefix_attention import routed
from .reader import Reader
from .routes import ReadingPlan, evaluating, plan_reading
from .scores import Scores

log = logging.getLogger(__name__)

READS = 512
"""Positions whose logits are held at once where all tokens of a text are asked for."""


def score(
    model: nn.Module,
    prompts: Prompts,
    *,
    batch_tokens: int,
    head: nn.Module | None = None,
    processes: ProcessGroup | None = None,
    sharded: bool = False,
    rank_by: str = "sum",
    characters: tuple[int, ...] = (),
    pause: Callable[[], None] = lambda: None,
    plan: ReadingPlan | None = None,
) -> Scores:
    """Return the scores of each prompt's label words as its continuation.

    `head`, from hidden states [n, width] to logits [n, labels], takes the place of the readout
    over the vocabulary (the words are then its classes). The processes of `processes` share the
    batches; each gets all scores. If `sharded`, none of them can read without the others (ZeRO
    stage 3). `rank_by` says what ranks words, of so many `characters` (see `patterns.ranking`).
    `pause` is called before each round of batches, by all processes as often. `plan` is that of the
    prompts, found here if not given. Model and head are scored in evaluation mode and come back as
    they were. Raises UserError for a prompt longer than the model's window, and for a row that does
    not fit in memory.
    """
    if len(prompts.words) != len(prompts.ids):
        raise ValueError("prompts without label words cannot be scored")
    plan = plan or plan_reading(model, prompts, head)
    route, tokens = plan.route, 1 if plan.alone else batch_tokens
    head = readout(model) if head is None else head
    group = processes or ProcessGroup()
    found = WordScores(prompts, head, group if sharded else ProcessGroup())
    with evaluating(model, head), routed(model) if route.routed else nullcontext():
        reader = Reader(model, prompts, route)
        reading = Pass(reader, plan.sequences, found, tokens, group, sharded)
        logprobs, normaliser, argmax = reading.run(pause)
    words = [[len(word) for word in words_of_row] for words_of_row in prompts.words]
    logprobs, tokens = logprobs.astype(np.float32), np.array(words, dtype=np.int16)
    known = normaliser, argmax.astype(bool)
    if prompts.per_row > 1:  # What stands behind a row's prompt differs from label to label.
        logprobs, tokens = (each.reshape(-1, prompts.per_row) for each in (logprobs, tokens))
        known = None, None
    return Scores(
        logprobs, *known, tokens, plan.told(), reading.tokens_read, reading.splits, rank_by,
        characters,
    )  # fmt: skip


class WordScores:
    """The log-probabilities [prompts, words], normalisers and top tokens of prompts.

    The logits of a batch are computed at once or, where words are whole texts, `READS` at a time.
    `together` are the processes without which none can compute any.
    """

    def __init__(self, prompts: Prompts, head: nn.Module, together: ProcessGroup):
        self.words, self.head, self.together = prompts.words, head, together
        rows, labels = len(prompts.ids), len(prompts.words[0])
        # The only word of a prompt is a text: of channel scoring, or a piece of a document.
        self.reads = READS if labels == 1 else None
        self.logprobs = np.zeros((rows, labels))
        self.normaliser = np.zeros(rows, dtype=np.float32)
        self.argmax = np.zeros(rows, dtype=np.int8)
        self.arrays = self.logprobs, self.normaliser, self.argmax

    def made(self, hidden: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, ...]:
        """Return a batch's log-probabilities, normalisers and top tokens."""
        if self.reads is None:
            return self._read_off(hidden, layout.targets)
        # Each read has one target, in the same order: a prompt's only word is its text.
        count = max(self.together.gather(-(-len(hidden) // self.reads)))
        starts = [part * self.reads for part in range(count)]
        parts = [
            self._read_off(
                hidden[at : at + self.reads], layout.targets[at : at + self.reads] - [at, 0, 0, 0]
            )
            for at in starts
        ]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _read_off(self, hidden: torch.Tensor, targets: np.ndarray) -> tuple[torch.Tensor, ...]:
        logits = self.head(hidden).float()
        total = torch.logsumexp(logits, dim=-1)
        read, token = (
            torch.from_numpy(targets[:, i]).to(logits.device, non_blocking=True) for i in (0, 3)
        )
        return logits[read, token] - total[read], total, logits.argmax(dim=-1)

    def enter(self, made: tuple[torch.Tensor, ...], layout: Layout) -> None:
        """Enter what `made` has computed."""
        found, total, top = made
        _, row, word, _ = layout.targets.T
        # In order and in double precision: a word's tokens add up alike everywhere.
        np.add.at(self.logprobs, (row, word), found.double().cpu().numpy())
        read, row = layout.trunks.T
        self.normaliser[row] = total.cpu().numpy()[read]
        self.argmax[row] = [
            any(token == word[0] for word in self.words[i])
            for token, i in zip(top.cpu().numpy()[read].tolist(), row.tolist(), strict=True)
        ]
