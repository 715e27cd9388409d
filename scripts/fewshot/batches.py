"""Training rows as padded tensors, and which process takes which of them in a step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from .errors import UserError
from .patterns import Pattern
from .sampling import generator
from .tokens import Prompts, Queries
from .world import World


@dataclass(frozen=True)
class TrainingRows:
    """The rows of one draw: `ids` [rows, longest] padded on the right, `last` the position of each
    row's last token, `labels` [rows] its gold label."""

    ids: torch.Tensor
    last: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Share:
    """What one process computes of a batch: rows, and the factor of their mean loss.

    The factors make the mean over the processes the mean over the batch. A process without rows
    of its own computes one row with factor 0, since all must take part in every step.
    """

    rows: np.ndarray
    factor: float


def query_prompts(
    tokenizer, pattern: Pattern, rows: pd.DataFrame, virtual_ids: Sequence[int] = ()
) -> Prompts:
    """Tokenize the rows as queries behind `virtual_ids`, for training and scoring alike."""
    texts = [pattern.query(a, b) for a, b in zip(rows["text_a"], rows["text_b"], strict=True)]
    return Queries(tokenizer, texts, rows["id"].tolist()).prompts("").behind(virtual_ids)


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
    return TrainingRows(
        torch.from_numpy(ids), torch.from_numpy(lengths - 1), torch.tensor(labels.astype(np.int64))
    )


def epoch_shares(
    rows: int, batch_size: int, task: str, seed: int, epoch: int, world: World
) -> Iterator[Share]:
    """Yield this process's share of each batch of an epoch; the last batch may be smaller."""
    order = generator("batches", task, seed, epoch).permutation(rows)
    for start in range(0, rows, batch_size):
        batch = order[start : start + batch_size]
        own = batch[world.rank :: world.size]
        if len(own):
            yield Share(own, len(own) * world.size / len(batch))
        else:
            yield Share(batch[:1], 0.0)
