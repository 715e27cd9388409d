"""From tokenized prompts to padded batches: what is read together, and where answers are read off.

A row's label words of one token are all predicted at its last token. Those of several tokens fork
off there: behind a shared prefix they are packed into the row's own sequence, each seen by itself
only; without one, every such word has a sequence of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .tokens import Prompts

Piece = tuple[int, tuple[int, ...]]
"""A sequence to be read: a row, and which of its label words are read off."""


@dataclass(frozen=True)
class Layout:
    """The sequences of a batch as arrays; tokens are padded on the right.

    ids int64 [n, longest]; positions int64 [1 or n, longest], counted from the sequence's start;
    branches int16 [n, longest], 0 for the prompt and otherwise the number of the word that forks
    off, or None where none does; reads int64 [reads, 2], the (sequence, token) at which a next
    token is predicted; trunks int64 [rows, 2], (read, row) of each row's last token; targets int64
    [targets, 4], (read, row, word, token) of each token whose log-probability is asked for.
    """

    ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray | None
    reads: np.ndarray
    trunks: np.ndarray
    targets: np.ndarray


def pieces_of(prompts: Prompts, packed: bool) -> list[Piece]:
    """Return the sequences to read, so that each word of each row is in one of them.

    A row's first sequence has its word 0. Only if `packed` has a sequence several words that fork.
    """
    made: list[Piece] = []
    for row, words in enumerate(prompts.words):
        long = [i for i, word in enumerate(words) if len(word) > 1]
        rest = [] if packed else long[1:]
        made.append((row, tuple(i for i in range(len(words)) if i not in rest)))
        made += [(row, (each,)) for each in rest]
    return made


def length_of(prompts: Prompts, piece: Piece, start: int) -> int:
    """Return the tokens of a sequence that begins with `start` tokens of the prefix."""
    row, words = piece
    return start + len(prompts.suffixes[row]) + sum(len(prompts.words[row][i]) - 1 for i in words)


def canonical_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut sequences into batches of at most `batch_tokens` padded tokens, or of one longer one.

    They come sorted by (length, position). A pure function of its arguments.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[place] <= batch_tokens:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def lay_out(prompts: Prompts, batch: Sequence[Piece], start: tuple[int, ...]) -> Layout:
    """Return the batch whose sequences begin with `start`, the prefix or nothing."""
    longest = max(length_of(prompts, piece, len(start)) for piece in batch)
    ids = np.zeros((len(batch), longest), dtype=np.int64)
    positions, branches = np.zeros_like(ids), np.zeros(ids.shape, dtype=np.int16)
    reads, trunks, targets = [], [], []
    for place, (row, words) in enumerate(batch):
        tokens = start + prompts.suffixes[row]
        trunk = end = len(tokens)
        ids[place, :trunk], positions[place, :trunk] = tokens, np.arange(trunk)
        if 0 in words:
            trunks.append((len(reads), row))
        targets += [(len(reads), row, word, prompts.words[row][word][0]) for word in words]
        reads.append((place, trunk - 1))
        for word in words:
            _, *later = tokens = prompts.words[row][word]
            ids[place, end : end + len(later)] = tokens[:-1]
            positions[place, end : end + len(later)] = np.arange(trunk, trunk + len(later))
            branches[place, end : end + len(later)] = word + 1
            for token in later:
                targets.append((len(reads), row, word, token))
                reads.append((place, end))
                end += 1
    forked = branches.any()
    return Layout(
        ids,
        # Equal positions are told once: causal attention without masks has faster kernels.
        positions if forked else np.arange(longest)[None],
        branches if forked else None,
        np.array(reads),
        np.array(trunks, dtype=np.int64).reshape(-1, 2),
        np.array(targets),
    )
