"""Training rows as padded tensors, and which process takes which of them in a step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
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
    """The rows of one draw, each read with its gold label word behind it or with each of its words.

    `ids` [rows, readings, longest] are prompts and words without their last token, padded on the
    right, `lengths` [rows, readings] their tokens. `answers` [rows, readings, most] are the words'
    tokens, of which there are `tokens` [rows, readings]. `labels` [rows] are the gold ones,
    `row_ids` [rows] their ids in the data set. `words` [rows, labels] has the label words where all
    are one token, else it is None. `truncated` of the rows were longer than the method allows.
    """

    ids: np.ndarray
    lengths: np.ndarray
    answers: np.ndarray
    tokens: np.ndarray
    labels: torch.Tensor
    row_ids: np.ndarray
    words: torch.Tensor | None
    truncated: int = 0

    @property
    def read(self) -> np.ndarray:
        """Return the padded tokens that are read of each row alone [rows]."""
        return self.lengths.max(axis=1) * self.lengths.shape[1]

    def together(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what is read of some rows at once (see `losses.Answers`): `ids` [sequences,
        tokens], and `places` [reads, 2] with the `tokens` [reads] that come next there."""
        lengths, counts = self.lengths[rows].ravel(), self.tokens[rows].ravel()
        sequence = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)
        # A word's first token is predicted at the prompt's last one.
        places = np.stack([sequence, (lengths - counts)[sequence] + nth], axis=1)
        ids = self.ids[rows].reshape(len(counts), -1)[:, : lengths.max()]
        tokens = self.answers[rows].reshape(len(counts), -1)[sequence, nth]
        return torch.from_numpy(ids), torch.from_numpy(places), torch.from_numpy(tokens)


@dataclass(frozen=True)
class MicroBatch:
    """What one process computes at once: `rows` of the draw, and those that count.

    A process without a row of its own computes one that does not count, since all must take part
    in every pass.
    """

    rows: np.ndarray
    counts: np.ndarray


def query_prompts(
    queries: Queries,
    pattern: Pattern,
    virtual_ids: Sequence[int] = (),
    end: Sequence[int] = (),
    classes: int = 0,
    context: str = "",
) -> Prompts:
    """Return the prompts of queries behind `virtual_ids` and `context`, for training and scoring
    alike.

    Their label words end in the tokens `end`; the `classes` of a classification head, if there are
    any, take the place of words.
    """
    prompts = queries.prompts(context or pattern.context(()))
    prompts = prompts.with_words(range(classes)) if classes else prompts.ending_in(end)
    return prompts.behind(virtual_ids)


def training_rows(
    prompts: Prompts, labels: np.ndarray, window: int, ahead: int = 0, all_words: bool = False
) -> TrainingRows:
    """Return the draw as it is read: with all label words of each row, if any of several tokens is
    among them and `all_words` asks for that, else with the gold one.

    Raises UserError for a row that, with the `ahead` positions of a learned prefix, is longer than
    the window (tokens).
    """
    several = max(len(word) for of_row in prompts.words for word in of_row) > 1
    answers = [
        of_row if several and all_words else (of_row[label],)
        for of_row, label in zip(prompts.words, labels, strict=True)
    ]
    starts = [prompts.prefix + suffix for suffix in prompts.suffixes]
    ids, lengths = _padded(
        [
            [start + word[:-1] for word in of_row]
            for start, of_row in zip(starts, answers, strict=True)
        ]
    )
    longest = lengths.max() + ahead
    if longest > window:
        row = prompts.ids[int(lengths.max(axis=1).argmax())]
        raise UserError(
            f"training row with id {row} has {longest} tokens, the model reads {window}"
        )
    gold = torch.tensor(labels.astype(np.int64))
    words = None if several else torch.tensor(prompts.words)[:, :, 0]
    return TrainingRows(ids, lengths, *_padded(answers), gold, np.array(prompts.ids), words)


def _padded(rows: Sequence[Sequence[tuple[int, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 [rows, readings, longest], padded on the right, and lengths [rows, readings]."""
    lengths = np.array([[len(tokens) for tokens in row] for row in rows])
    padded = np.zeros((*lengths.shape, lengths.max()), dtype=np.int64)
    filled = np.arange(lengths.max()) < lengths[..., None]
    padded[filled] = [token for row in rows for tokens in row for token in tokens]
    return padded, lengths


def one_after_another(parts: Sequence[Prompts]) -> Prompts:
    """Return the prompts of some rows, made with one pattern after the other, as those of as many
    rows."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        ids=tuple(number for part in parts for number in part.ids),
        prefix=(),
        suffixes=[part.prefix + suffix for part in parts for suffix in part.suffixes],
        words=[words for part in parts for words in part.words],
    )


def epoch_order(rows: int, batch_size: int, task: str, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch, each an array of rows; the last one may be smaller."""
    order = generator("batches", task, seed, epoch).permutation(rows)
    return [order[start : start + batch_size] for start in range(0, rows, batch_size)]


def micro_batches(
    batches: Sequence[np.ndarray],
    lengths: Sequence[np.ndarray],
    tokens: int,
    processes: ProcessGroup,
) -> list[list[MicroBatch]]:
    """Cut the batches of several seeds, of as many rows each, into what each pass of this process
    computes: rows of similar length, as many of each seed, of at most `tokens` padded tokens
    together, or a single one of each.

    The longest rows come first and are dealt to the processes in turn, so that all have as many
    passes, and passes of one length. A pure function of each seed's rows' `lengths` (in tokens).
    """
    size = processes.size
    batches = [
        batch[np.lexsort((batch, -own[batch]))] for batch, own in zip(batches, lengths, strict=True)
    ]
    longest = np.max([own[batch] for batch, own in zip(batches, lengths, strict=True)], axis=0)
    # As for one seed: adapters make the kernels of a pass cost more, the more seeds it reads.
    cuts = _cuts([int(length) for length in longest[::size]], tokens // len(batches))
    return [
        [_piece(batch[start * size : end * size], processes) for batch in batches]
        for start, end in pairwise(cuts)
    ]


def _cuts(lengths: list[int], tokens: int) -> list[int]:
    """Return where to cut rows, or as many of each seed, of falling `lengths` for the least cost,
    ends included.

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


def _piece(dealt: np.ndarray, processes: ProcessGroup) -> MicroBatch:
    own = dealt[processes.rank :: processes.size]
    if len(own):
        return MicroBatch(own, np.ones(len(own), dtype=np.float32))
    return MicroBatch(dealt[:1], np.zeros(1, dtype=np.float32))
