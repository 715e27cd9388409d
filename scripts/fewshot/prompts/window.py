"""Say which contexts fit a model's window, from tokenizer, draws and rows alone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from ..errors import UserError
from .label_words import label_word_ids, label_words
from .patterns import Pattern
from .tokenize import Prompts, Queries

LOG = logging.getLogger(__name__)

OK, UNFIT = "ok", "does not fit"


@dataclass
class WindowChecker:
    """Counts tokens for one task and tokenizer; what several cells share is counted once.

    `evaluation` maps each set to its rows, `train` holds the training rows that shots name, and
    `shots[(draw, k, seed)]` a draw (schemas.SHOTS) of the kind that the cell's method is shown.
    """

    tokenizer: object
    patterns: dict[str, Pattern]
    evaluation: dict[str, pd.DataFrame]
    train: pd.DataFrame
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
            shots = self._drawn(draw, k, seed)
            texts = [
                (int(label), *pair)
                for label, pair in zip(shots["label"], _texts(shots), strict=True)
            ]
            context = self.patterns[pattern].context(texts) if uses_context else ""
            self._counts[key] = self._longest(pattern, context, uses_context, shots)
        return self._counts[key]

    def _longest(self, pattern: str, context: str, uses_context: bool, shots: pd.DataFrame):
        own = len(self.tokenizer(context, add_special_tokens=False, verbose=False)["input_ids"])
        sets = self._of(pattern, uses_context)
        found = [_longest_row(queries.prompts(context)) for queries in sets.values()]
        if not uses_context and len(shots):
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
        texts = [bound.query(a, b) for a, b in _texts(rows)]
        names = [f"{name}/{number}" for number in rows["id"]]
        return Queries(self.tokenizer, texts, names, words, bound.words_alone)

    @cached_property
    def _by_id(self) -> pd.DataFrame:
        return self.train.set_index("id", drop=False)

    def _drawn(self, draw: str, k: int, seed: int) -> pd.DataFrame:
        if k == 0:
            return self.train.iloc[:0]
        drawn = self.shots[(draw, k, seed)].sort_values("position")
        missing = drawn.loc[~drawn["id"].isin(self._by_id.index), "id"]
        if len(missing):
            raise UserError(f"shots of k {k}, seed {seed}: no training row {missing.iloc[0]}")
        return self._by_id.loc[drawn["id"]]


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
