"""The most probable tokens behind prompts, for a student to learn from."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

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
from .routes import evaluating, plan_reading


@dataclass(frozen=True)
class TopTokens:
    """What comes next behind each prompt, one entry per row, in the order of the prompts' ids.

    tokens: int64 [rows, count], the most probable tokens, in falling order; logprobs: float32
    [rows, count], theirs over the whole vocabulary at a temperature; words: float32 [rows, labels],
    log-probabilities of the label words, of one token each, at temperature 1. The rest is as in
    `Scores`.
    """

    tokens: np.ndarray
    logprobs: np.ndarray
    words: np.ndarray
    tokens_read: int


def top_tokens(
    model: nn.Module,
    prompts: Prompts,
    count: int,
    temperature: float,
    *,
    batch_tokens: int,
    processes: ProcessGroup,
    sharded: bool,
    pause: Callable[[], None] = lambda: None,
) -> TopTokens:
    """Return the `count` most probable tokens behind each prompt, whose label words are one token.

    The other arguments and the errors are those of `scoring.score.score`.
    """
    plan, head = plan_reading(model, prompts), readout(model)
    found = _Top(prompts, head, count, temperature)
    tokens = 1 if plan.alone else batch_tokens
    with evaluating(model), routed(model) if plan.route.routed else nullcontext():
        reader = Reader(model, prompts, plan.route)
        reading = Pass(reader, plan.sequences, found, tokens, processes, sharded)
        words, ids, logprobs = reading.run(pause)
    return TopTokens(ids, logprobs, words, reading.tokens_read)


class _Top:
    """The arrays that are filled: log-probabilities of label words, top tokens, and theirs."""

    def __init__(self, prompts: Prompts, head: nn.Module, count: int, temperature: float):
        self.head, self.temperature = head, temperature
        rows, labels = len(prompts.ids), len(prompts.words[0])
        self.words = np.zeros((rows, labels), dtype=np.float32)
        self.tokens = np.zeros((rows, count), dtype=np.int64)
        self.logprobs = np.zeros((rows, count), dtype=np.float32)
        self.arrays = self.words, self.tokens, self.logprobs

    def made(self, hidden: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, ...]:
        """Return a batch's log-probabilities of label words, top tokens, and theirs."""
        logits = self.head(hidden).float()
        read, token = (
            torch.from_numpy(layout.targets[:, i]).to(logits.device, non_blocking=True)
            for i in (0, 3)
        )
        words = torch.log_softmax(logits, dim=-1)[read, token]
        top = torch.log_softmax(logits / self.temperature, dim=-1).topk(self.tokens.shape[1])
        return words, top.indices, top.values

    def enter(self, made: tuple[torch.Tensor, ...], layout: Layout) -> None:
        """Enter what `made` has computed."""
        words, tokens, logprobs = (part.cpu().numpy() for part in made)
        _, row, word, _ = layout.targets.T
        self.words[row, word] = words
        read, row = layout.trunks.T
        self.tokens[row], self.logprobs[row] = tokens[read], logprobs[read]
