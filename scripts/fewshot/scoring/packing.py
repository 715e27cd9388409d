"""From tokenized prompts to padded batches: what is read together, and where answers are read off.

Rows that begin alike (the three hypotheses of an MNLI premise, say) are packed into one sequence:
what they share is read once, and each forks off from there. A row's label words of one token are
all predicted at its last token; those of several tokens fork off there in turn. A token sees its
own branch and what that forked off from (tree attention). Models whose attention cannot be told so
get one sequence for each row and for each word of several tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..prompts.tokenize import Prompts, common_length

LEAST = 4
"""Tokens from which on it is worth to read what rows share only once."""
KEEP = 0.75
"""Share of what a family has in common that must remain when another row joins it."""
FAMILY_TOKENS = 256
"""Tokens of a packed sequence at most."""
WORTH = 0.95
"""Rows are packed where this leaves no more than such a share of the tokens to read."""


@dataclass(frozen=True)
class PackedSequence:
    """A sequence to be read: rows, each with those of its label words that are read off here.

    The rows have their first `shared` own tokens in common; of a single row that is all of them.
    """

    rows: tuple[tuple[int, tuple[int, ...]], ...]
    shared: int


@dataclass(frozen=True)
class Layout:
    """The sequences of a batch as arrays; tokens are padded on the right.

    ids int64 [n, longest]; positions int64 [1 or n, longest], counted from the sequence's start;
    branches int16 [2, n, longest], the number of the branch of each token and of that which it
    forked off from, 0 for the stem, or None where nothing forks; reads int64 [reads, 2], the
    (sequence, token) at which a next token is predicted; trunks int64 [rows, 2], (read, row) of
    each row's last token; targets int64 [targets, 4], (read, row, word, token) of each token whose
    log-probability is asked for.
    """

    ids: np.ndarray
    positions: np.ndarray
    branches: np.ndarray | None
    reads: np.ndarray
    trunks: np.ndarray
    targets: np.ndarray


def pack_rows(prompts: Prompts, forks: bool) -> list[PackedSequence]:
    """Return the sequences to read, so that each word of each row is in one of them.

    Sequences with forks only if `forks`. A row's word 0 is read off where its other short ones are.
    """
    if forks:
        return _families(prompts)
    made = []
    for row, words in enumerate(prompts.words):
        rest = [i for i, word in enumerate(words) if len(word) > 1][1:]
        own = len(prompts.suffixes[row])
        made.append(
            PackedSequence(((row, tuple(i for i in range(len(words)) if i not in rest)),), own)
        )
        made += [PackedSequence(((row, (word,)),), own) for word in rest]
    return made


def _families(prompts: Prompts) -> list[PackedSequence]:
    """Return rows in families that begin alike, or each by itself where little would be saved.

    A pure function of the rows' tokens: in their order, a row joins the family before it if that
    keeps most of what the family shares.
    """
    rows = prompts.suffixes
    alone = [PackedSequence(((row, _all(prompts, row)),), len(own)) for row, own in enumerate(rows)]
    made: list[PackedSequence] = []
    for row in sorted(range(len(rows)), key=lambda i: (rows[i], i)):
        if made:
            family = made[-1]
            shared = min(family.shared, common_length(rows[family.rows[-1][0]], rows[row]))
            joined = PackedSequence((*family.rows, (row, _all(prompts, row))), shared)
            least = KEEP * family.shared if len(family.rows) > 1 else LEAST
            if shared >= max(least, LEAST) and length_of(prompts, joined) <= FAMILY_TOKENS:
                made[-1] = joined
                continue
        made.append(alone[row])
    return made if total(prompts, made) <= WORTH * total(prompts, alone) else alone


def _all(prompts: Prompts, row: int) -> tuple[int, ...]:
    return tuple(range(len(prompts.words[row])))


def total(prompts: Prompts, sequences: Iterable[PackedSequence]) -> int:
    """Return the tokens to be read of rows and words, the prefix left out."""
    return sum(length_of(prompts, sequence) for sequence in sequences)


def length_of(prompts: Prompts, sequence: PackedSequence) -> int:
    """Return the tokens of a sequence, the prefix left out."""
    return sequence.shared + sum(
        len(prompts.suffixes[row])
        - sequence.shared
        + sum(len(prompts.words[row][i]) - 1 for i in words)
        for row, words in sequence.rows
    )


def halves(batch: list[PackedSequence]) -> tuple[list[PackedSequence], list[PackedSequence]] | None:
    """Cut a batch, or the only sequence of one, in two; None where a single row is left."""
    if len(batch) > 1:
        return batch[: len(batch) // 2], batch[len(batch) // 2 :]
    (sequence,) = batch
    middle = len(sequence.rows) // 2
    if not middle:
        return None
    first, second = sequence.rows[:middle], sequence.rows[middle:]
    return [replace(sequence, rows=first)], [replace(sequence, rows=second)]


def canonical_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut sequences into batches of at most `batch_tokens` padded tokens, or of one longer one.

    They come sorted by (length, position). A pure function of its arguments.
    """
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[number] <= batch_tokens:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches


def lay_out(prompts: Prompts, batch: Sequence[PackedSequence], start: tuple[int, ...]) -> Layout:
    """Return the batch whose sequences begin with `start`, the prefix or nothing."""
    longest = len(start) + max(length_of(prompts, sequence) for sequence in batch)
    made = _Builder(len(batch), longest)
    for place, sequence in enumerate(batch):
        first, made.branch = prompts.suffixes[sequence.rows[0][0]], 0
        stem = _Branch(0, 0, made.put(place, 0, start + first[: sequence.shared], 0, (0, 0)))
        end = stem.end
        for row, words in sequence.rows:
            own, branch = prompts.suffixes[row][sequence.shared :], stem
            if own:
                end = made.put(place, end, own, stem.end, (made.next_branch(), 0))
                branch = _Branch(made.branch, len(own), end)
            depth = stem.end + branch.tokens
            end = made.answers(place, end, row, words, prompts.words[row], branch, depth)
    return made.layout()


@dataclass(frozen=True)
class _Branch:
    """A branch by its number, with its tokens beyond the stem and the place behind its last."""

    number: int
    tokens: int
    end: int


class _Builder:
    """Fills the arrays of a layout."""

    def __init__(self, count: int, longest: int):
        self.ids = np.zeros((count, longest), dtype=np.int64)
        self.positions = np.zeros_like(self.ids)
        self.branches = np.zeros((2, count, longest), dtype=np.int16)
        self.reads, self.trunks, self.targets = [], [], []
        self.branch, self.forked = 0, False

    def next_branch(self) -> int:
        """Return the number of a new branch; each sequence counts its own."""
        self.branch, self.forked = self.branch + 1, True
        return self.branch

    def put(self, place: int, at: int, tokens, position: int, branch: tuple[int, int]) -> int:
        """Write tokens from `at` on, of the given first position and branch; return their end."""
        end = at + len(tokens)
        self.ids[place, at:end] = tokens
        self.positions[place, at:end] = np.arange(position, position + len(tokens))
        self.branches[:, place, at:end] = np.array(branch)[:, None]
        return end

    def answers(self, place, end, row, words, tokens, branch: _Branch, depth: int) -> int:
        """Let a row's words follow its last token, at position `depth - 1`; return the new end."""
        if 0 in words:
            self.trunks.append((len(self.reads), row))
        self.targets += [(len(self.reads), row, word, tokens[word][0]) for word in words]
        self.reads.append((place, branch.end - 1))
        for word in words:
            before, later = tokens[word][:-1], tokens[word][1:]
            if later:
                end = self.put(place, end, before, depth, (self.next_branch(), branch.number))
            for i, token in enumerate(later):
                self.targets.append((len(self.reads), row, word, token))
                self.reads.append((place, end - len(later) + i))
        return end

    def layout(self) -> Layout:
        return Layout(
            self.ids,
            # Equal positions are told once: causal attention without masks has faster kernels.
            self.positions if self.forked else np.arange(self.ids.shape[1])[None],
            self.branches if self.forked else None,
            np.array(self.reads),
            np.array(self.trunks, dtype=np.int64).reshape(-1, 2),
            np.array(self.targets),
        )
