"""Say which contexts fit a model's window, from tokenizer, draws and rows alone."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from ..errors import UserError
from .label_words import label_word_ids, label_words
from .patterns import Pattern
from .tokenize import Prompts, Queries

LOG = logging.getLogger(__name__)

SAMPLE = 50
"""Rows of each set of which the tokens are compared with those of the tokenizer's file."""
OK, UNFIT = "ok", "does not fit"


@dataclass
class WindowChecker:
    """Counts tokens for one task and tokenizer; what several cells share is counted once.

    `evaluation` maps each set to its rows; `shots[(draw, k, seed)]` has the training rows of a draw
    of that kind, in its order (see `data.shots.read_shots`).
    """

    tokenizer: object
    patterns: dict[str, Pattern]
    evaluation: dict[str, pd.DataFrame]
    shots: dict[tuple[str, int, int], pd.DataFrame]
    _queries: dict[tuple[str, bool], dict[str, Queries]] = field(default_factory=dict)
    _counts: dict[tuple, tuple[int, int, str]] = field(default_factory=dict)

    def check_words(self, pattern: str, uses_context: bool) -> None:
        """Raise UserError for label words that cannot be scored or, without context, trained on."""
        check = label_words if uses_context else label_word_ids
        for queries in self._of(pattern, uses_context).values():
            check(self.tokenizer, self.patterns[pattern], queries.texts[0])

    def count(
        self, pattern: str, draw: str, k: int, seed: int, uses_context: bool
    ) -> tuple[int, int, str]:
        """Return tokens of the context, tokens of the longest prompt, and its row's name.

        The prompts are those of all evaluation rows behind the context, with what label words of
        several tokens add, or, for methods that train on the shots, without either; then those of
        the shots themselves count too.
        """
        key = (pattern, draw, k, seed, uses_context)
        if key not in self._counts:
            shots = self.shots[draw, k, seed] if k else None
            shown = uses_context and shots is not None
            context = self.patterns[pattern].context_of(shots) if shown else ""
            self._counts[key] = self._longest(pattern, context, uses_context, shots)
        return self._counts[key]

    def shown_rows(self, draw: str, k: int, seed: int) -> int:
        """Return how many evaluation rows, over all sets, have exactly the texts of a shot."""
        shots = set(_texts(self.shots[draw, k, seed])) if k else ()
        return sum(self._copies[texts] for texts in shots)

    @cached_property
    def _copies(self) -> Counter:
        """Return how many evaluation rows have the same texts."""
        return Counter(texts for rows in self.evaluation.values() for texts in _texts(rows))

    def sample_texts(self) -> Iterator[str]:
        """Yield texts of each kind that is tokenized: label words, separators, some queries."""
        for pattern in self.patterns.values():
            yield from (*pattern.words, pattern.separator)
            for rows in self.evaluation.values():
                yield from pattern.queries(rows.head(SAMPLE))

    def _longest(self, pattern: str, context: str, uses_context: bool, shots: pd.DataFrame | None):
        own = len(self.tokenizer(context, add_special_tokens=False, verbose=False)["input_ids"])
        sets = self._of(pattern, uses_context)
        found = [_longest_row(queries.prompts(context)) for queries in sets.values()]
        if not uses_context and shots is not None:
            queries = self._make(pattern, "train", shots)
            found.append(_longest_row(queries.prompts("")))
        length, row = max(found, key=lambda pair: pair[0])
        return own, length, row

    def _of(self, pattern: str, uses_context: bool) -> dict[str, Queries]:
        words = self.patterns[pattern].words if uses_context else ()
        if (pattern, uses_context) not in self._queries:
            self._queries[pattern, uses_context] = {
                name: self._make(pattern, name, rows, words)
                for name, rows in self.evaluation.items()
            }
        return self._queries[pattern, uses_context]

    def _make(self, pattern: str, name: str, rows: pd.DataFrame, words=()) -> Queries:
        bound = self.patterns[pattern]
        names = [f"{name}/{number}" for number in rows["id"]]
        return Queries(self.tokenizer, bound.queries(rows), names, words, bound.words_alone)


def check_copies(train: pd.DataFrame, evaluation: dict[str, pd.DataFrame]) -> None:
    """Compare the texts of evaluation rows with those of the training rows.

    Raises UserError for a set of which every row is a training row: it is a copy of them.
    """
    texts = set(_texts(train))
    for name, rows in evaluation.items():
        copied = sum(pair in texts for pair in _texts(rows))
        if copied == len(rows):
            raise UserError(
                f"evaluation set '{name}': each of its {len(rows)} rows is a training row too; "
                "shots must not be evaluation rows: give it rows of its own"
            )
        if copied:
            LOG.warning("set '%s': %d of %d rows are training rows too; the coverage table says "
                        "how many were shots", name, copied, len(rows))  # fmt: skip


def check_cells(
    checker: WindowChecker, cell: dict, cells: Sequence[dict], window: int
) -> list[dict[str, object]]:
    """Return one row (schemas.WINDOWS) per cell and seed.

    `cell` has protocol, task and model; each of `cells` has method, pattern, k, seeds, draw,
    uses_context, needs_words, virtual_tokens (those that a method learns in front of every prompt)
    and truncate (the tokens that it cuts prompts to, or None).
    Raises UserError for label words that its method cannot use.
    """
    needed = ((each["pattern"], each["uses_context"]) for each in cells if each["needs_words"])
    for pattern, uses_context in dict.fromkeys(needed):
        checker.check_words(pattern, uses_context)
    rows = []
    for each in cells:
        name = {**cell, **{key: each[key] for key in ("method", "pattern", "k")}}
        for seed in each["seeds"]:
            context, longest, row = checker.count(
                each["pattern"], each["draw"], each["k"], seed, each["uses_context"]
            )
            longest = min(longest, each["truncate"] or longest) + each["virtual_tokens"]
            status = OK if longest <= window else UNFIT
            if status == UNFIT:
                LOG.info("%s, seed %d: %d tokens do not fit %d", name, seed, longest, window)
            shown = checker.shown_rows(each["draw"], each["k"], seed)
            rows.append(
                {
                    **name,
                    "seed": seed,
                    "shown_rows": shown,
                    "context_tokens": context,
                    "longest_tokens": longest,
                }
                | {"longest_row": row, "window": window, "status": status}
            )
    return rows


def _longest_row(prompts: Prompts) -> tuple[int, str]:
    lengths = prompts.lengths
    longest = lengths.index(max(lengths))
    return lengths[longest], str(prompts.ids[longest])


def _texts(rows: pd.DataFrame) -> Iterator[tuple[str, str | None]]:
    return zip(rows["text_a"], rows["text_b"], strict=True)
