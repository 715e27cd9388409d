"""Say which contexts fit a model's window, from tokenizer, draws and rows alone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from .errors import UserError
from .patterns import Pattern
from .tokens import Prompts, Queries, label_word_ids

LOG = logging.getLogger(__name__)

OK, UNFIT = "ok", "does not fit"


@dataclass
class Checker:
    """Counts tokens for one task and tokenizer; what several cells share is counted once.

    `evaluation` maps each set to its rows, `train` holds the training rows that shots name, and
    `shots[(k, seed)]` a draw (records.SHOTS).
    """

    tokenizer: object
    patterns: dict[str, Pattern]
    evaluation: dict[str, pd.DataFrame]
    train: pd.DataFrame
    shots: dict[tuple[int, int], pd.DataFrame]
    _queries: dict[str, dict[str, Queries]] = field(default_factory=dict)
    _counts: dict[tuple, tuple[int, int, str]] = field(default_factory=dict)

    def check_words(self, pattern: str) -> None:
        """Raise UserError unless the pattern's label words are one token each."""
        for queries in self._of(pattern).values():
            label_word_ids(self.tokenizer, self.patterns[pattern], queries.texts[0])

    def count(self, pattern: str, k: int, seed: int, uses_context: bool) -> tuple[int, int, str]:
        """Return tokens of the context, tokens of the longest prompt, and its row's name.

        The prompts are those of all evaluation rows behind the context or, for methods that train
        on the shots, without it; then those of the shots themselves count too.
        """
        key = (pattern, k, seed) if uses_context else (pattern, k, seed, "alone")
        if key not in self._counts:
            shots = self._drawn(k, seed)
            texts = [
                (int(label), *pair)
                for label, pair in zip(shots["label"], _texts(shots), strict=True)
            ]
            context = self.patterns[pattern].context(texts) if uses_context else ""
            self._counts[key] = self._longest(pattern, context, [] if uses_context else shots)
        return self._counts[key]

    def _longest(self, pattern: str, context: str, examples) -> tuple[int, int, str]:
        own = len(self.tokenizer(context, add_special_tokens=False, verbose=False)["input_ids"])
        found = [_longest_row(queries.prompts(context)) for queries in self._of(pattern).values()]
        if len(examples):
            queries = self._make(pattern, "train", examples)
            found.append(_longest_row(queries.prompts("")))
        length, row = max(found, key=lambda pair: pair[0])
        return own, length, row

    def _of(self, pattern: str) -> dict[str, Queries]:
        if pattern not in self._queries:
            self._queries[pattern] = {
                name: self._make(pattern, name, rows) for name, rows in self.evaluation.items()
            }
        return self._queries[pattern]

    def _make(self, pattern: str, name: str, rows: pd.DataFrame) -> Queries:
        texts = [self.patterns[pattern].query(a, b) for a, b in _texts(rows)]
        return Queries(self.tokenizer, texts, [f"{name}/{number}" for number in rows["id"]])

    @cached_property
    def _by_id(self) -> pd.DataFrame:
        return self.train.set_index("id", drop=False)

    def _drawn(self, k: int, seed: int) -> pd.DataFrame:
        if k == 0:
            return self.train.iloc[:0]
        draw = self.shots[(k, seed)].sort_values("position")
        missing = draw.loc[~draw["id"].isin(self._by_id.index), "id"]
        if len(missing):
            raise UserError(f"shots of k {k}, seed {seed}: no training row {missing.iloc[0]}")
        return self._by_id.loc[draw["id"]]


def check_cells(
    checker: Checker, cell: dict, cells: Sequence[dict], window: int
) -> list[dict[str, object]]:
    """Return one row (records.FIT) per cell and seed.

    `cell` has protocol, task and model; each of `cells` has method, pattern, k, seeds,
    uses_context, needs_words. Raises UserError for a label word that is not one token.
    """
    for pattern in dict.fromkeys(each["pattern"] for each in cells if each["needs_words"]):
        checker.check_words(pattern)
    rows = []
    for each in cells:
        name = {**cell, **{key: each[key] for key in ("method", "pattern", "k")}}
        for seed in each["seeds"]:
            counts = checker.count(each["pattern"], each["k"], seed, each["uses_context"])
            context, longest, row = counts
            status = OK if longest <= window else UNFIT
            if status == UNFIT:
                LOG.info("%s, seed %d: %d tokens do not fit %d", name, seed, longest, window)
            rows.append(
                {**name, "seed": seed, "context_tokens": context, "longest_tokens": longest}
                | {"longest_row": row, "window": window, "status": status}
            )
    return rows


def _longest_row(prompts: Prompts) -> tuple[int, str]:
    lengths = prompts.lengths
    longest = lengths.index(max(lengths))
    return lengths[longest], str(prompts.ids[longest])


def _texts(rows: pd.DataFrame) -> list[tuple[str, str | None]]:
    return list(zip(rows["text_a"], rows["text_b"], strict=True))
