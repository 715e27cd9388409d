"""Say which contexts fit a model's window, from tokenizer, draws and rows alone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from .label_words import label_word_ids, label_words
from .patterns import Pattern
from .tokenize import Prompts, Queries

LOG = logging.getLogger(__name__)

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
