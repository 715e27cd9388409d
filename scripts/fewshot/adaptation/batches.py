"""Training rows as padded tensors, and which process takes which of them in a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from ..errors import UserError
from ..prompts.patterns import Pattern
from ..prompts.tokenize import Prompts, Queries
from ..rng import generator
from ..runtime.processes import ProcessGroup

PASS = 128
"""Tokens that a forward and backward pass costs beside its own, about: kernels are started for each
layer, and gradients are added up."""


@dataclass(frozen=True)
class TrainingRows:
    """The rows of one draw: `ids` [rows, longest] padded on the right, `lengths` [rows] in tokens,
    `labels` [rows] the gold ones; `truncated` of the rows were longer than the method allows."""

    ids: torch.Tensor
    lengths: np.ndarray
    labels: torch.Tensor
    truncated: int = 0


@dataclass(frozen=True)
class MicroBatch:
    """What one process computes at once: `rows` of the draw, and those that count.

    A process without a row of its own computes one that does not count, since all must take part
    in every pass.
    """

    rows: np.ndarray
    counts: np.ndarray


def query_prompts(
    tokenizer, pattern: Pattern, rows: pd.DataFrame, virtual_ids: Sequence[int] = ()
) -> Prompts:
    """Tokenize the rows as queries behind `virtual_ids`, for training and scoring alike."""
    queries = Queries(tokenizer, pattern.queries(rows), rows["id"].tolist())
    return queries.prompts("").behind(virtual_ids)


def training_rows(
    prompts: Prompts, labels: np.ndarray, window: int, ahead: int = 0
) -> TrainingRows:
    """Return the draw as tensors.

    Raises UserError for a row that, with the `ahead` positions of a learned prefix, is longer than
    the window (tokens).
    """
    lengths = np.array(prompts.lengths)
    longest = lengths.max() + ahead
    if longest > window:
        row = prompts.ids[int(lengths.argmax())]
        raise UserError(f"training row {row} has {longest} tokens, the model reads {window}")
    ids = np.zeros((len(lengths), lengths.max()), dtype=np.int64)
    for i, suffix in enumerate(prompts.suffixes):
        ids[i, : lengths[i]] = prompts.prefix + suffix
    return TrainingRows(torch.from_numpy(ids), lengths, torch.tensor(labels.astype(np.int64)))


def epoch_order(rows: int, batch_size: int, task: str, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch, each an array of rows; the last one may be smaller."""
    order = generator("batches", task, seed, epoch).permutation(rows)
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def micro_batches(
    batch: np.ndarray, lengths: np.ndarray, tokens: int, processes: ProcessGroup
) -> list[MicroBatch]:
    """Cut a batch into what each pass of this process computes: rows of similar length, of at most
    `tokens` padded tokens, or a single row.

    The longest rows come first and are dealt to the processes in turn, so that all have as many
    passes, and passes of one length. A pure function of the rows' `lengths` (in tokens).
    """
    batch = batch[np.lexsort((batch, -lengths[batch]))]
    hands = [
        batch[start : start + processes.size] for start in range(0, len(batch), processes.size)
    ]
    cuts = _cuts([int(lengths[hand[0]]) for hand in hands], tokens)
    return [_piece(hands[start:end], processes) for start, end in pairwise(cuts)]


def _cuts(lengths: list[int], tokens: int) -> list[int]:
    """Return where to cut rows of falling `lengths` for the least cost, ends included.

    A pass costs its padded tokens and `PASS`; it has at most `tokens` of them or one row.
    """
    best, before = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        options = [
            (best[start] + (end - start) * lengths[start] + PASS, start)
            for start in range(end)
            if end - start == 1 or (end - start) * lengths[start] <= tokens
        ]
        cost, start = min(options)
        best.append(cost)
        before.append(start)
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(before[cuts[-1]])
    return cuts[::-1]


def _piece(hands: list[np.ndarray], processes: ProcessGroup) -> MicroBatch:
    own = [hand[processes.rank] for hand in hands if processes.rank < len(hand)]
    if own:
        return MicroBatch(np.array(own), np.ones(len(own), dtype=np.float32))
    return MicroBatch(hands[0][:1], np.zeros(1, dtype=np.float32))
