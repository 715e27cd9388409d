"""Say which contexts fit a model's window, from tokenizer, draws and rows alone."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from ..errors import UserError
from .channel import queries_of
from .chat import ChatPattern
from .contexts import longest_rows, others
from .label_words import end_tokens, label_words
from .patterns import Pattern
from .set_queries import SetQueries
from .tokenize import Prompts, Queries

LOG = logging.getLogger(__name__)

SAMPLE = 50
"""Rows of each set of which the tokens are compared with those of the tokenizer's file."""
OK, UNFIT = "ok", "does not fit"


@dataclass
class WindowChecker:
    """Counts tokens for one task and tokenizer; what several cells share is counted once.

    `evaluation` maps each set to its rows; `shots[(draw, k, seed)]` has the training rows of a draw
    of that kind, in its order (see `data.shots.read_shots`). `queries` are those of the evaluation
    sets, which others may share.
    """

    queries: SetQueries
    patterns: dict[str, Pattern]
    evaluation: dict[str, pd.DataFrame]
    shots: dict[tuple[str, int, int], pd.DataFrame]
    _counts: dict[tuple, tuple[int, int, str]] = field(default_factory=dict)

    @property
    def tokenizer(self) -> object:
        """Return the tokenizer of what is counted."""
        return self.queries.tokenizer

    def check_words(
        self, pattern: str, end: tuple[int, ...], trained: pd.DataFrame | None = None
    ) -> None:
        """Raise UserError for label words, ending in the tokens `end`, that cannot be scored behind
        the evaluation rows, or trained on behind the shots `trained`."""
        if trained is None:
            sets = self._of(pattern, True)
        else:
            sets = {"train": self._make(pattern, "train", trained, True)}
        for queries in sets.values():
            label_words(self.tokenizer, self.patterns[pattern], queries.texts[0], end)

    def count(self, cell: Mapping, seed: int) -> tuple[int, int, str]:
        """Return tokens of the context, tokens of the longest prompt, and its row's name.

        `cell` is one of `check_cells`. The prompts are those of all evaluation rows behind the
        context, with what label words of several tokens add, if the method needs words; for methods
        that train on the shots, those of the shots besides or instead of a context, with each of
        the patterns that they are trained with. Of several contexts it is the longest one
        (`contexts.longest_rows`).
        """
        pattern, k, limit = cell["pattern"], cell["k"], cell["truncate"]
        drawn, words = (cell["draw"], k, seed), cell["needs_words"]
        divided, trained_with = (cell.get("shown"), cell.get("cached")), _trained_with(cell)
        behind = cell.get("trained_behind", "")
        key = (pattern, *drawn, cell["uses_context"], words, limit, *divided, behind, *trained_with)
        if key not in self._counts:
            shots = self.shots[drawn] if k else None
            bound = self.patterns[pattern]
            uses = cell["uses_context"] and shots is not None
            shown = self._shown(bound, shots, cell) if uses else None
            if isinstance(bound, ChatPattern):
                for rows in self.evaluation.values():
                    bound.check(self.tokenizer, shown, rows)
            context = bound.context(()) if shown is None else bound.context_of(shown)
            prompts = [each.prompts(context) for each in self._of(pattern, words).values()]
            for name in trained_with if shots is not None and (shown is None or behind) else ():
                prompts += self._trained(name, shots, words, behind)
            (longest, _), row = max(
                (_longest_row(each, limit) for each in prompts), key=lambda pair: pair[0]
            )
            self._counts[key] = self._tokens(context), longest, row
        return self._counts[key]

    def _trained(self, name: str, shots: pd.DataFrame, words: bool, behind: str) -> list[Prompts]:
        """Return the prompts of shots that are trained on with a pattern, `behind` which others."""
        pattern = self.patterns[name]
        if behind != "others":
            context = pattern.context_of(shots if behind == "all" else shots.iloc[:0])
            return [self._make(name, "train", shots, words).prompts(context)]
        return [
            self._make(name, "train", shots.iloc[[row]], words).prompts(
                pattern.context_of(others(shots, row))
            )
            for row in range(len(shots))
        ]

    def _shown(self, pattern: Pattern, shots: pd.DataFrame, cell: Mapping) -> pd.DataFrame:
        """Return the rows of the longest context of a draw."""
        if cell.get("shown") is None:
            return shots
        texts = [pattern.context_of(shots.iloc[[row]]) for row in range(len(shots))]
        encoded = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        return longest_rows(shots, list(map(len, encoded)), cell)

    def shown_rows(self, draw: str, k: int, seed: int) -> int:
        """Return how many evaluation rows, over all sets, have exactly the texts of a shot."""
        shots = set(_texts(self.shots[draw, k, seed])) if k else ()
        return sum(self._copies[texts] for texts in shots)

    @cached_property
    def _copies(self) -> Counter:
        """Return how many evaluation rows have the same texts."""
        return Counter(texts for rows in self.evaluation.values() for texts in _texts(rows))

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _of(self, pattern: str, words: bool) -> dict[str, Queries]:
        bound = self.patterns[pattern]
        return {
            name: self.queries.of(bound, name, rows, words)
            for name, rows in self.evaluation.items()
        }

    def _make(self, pattern: str, name: str, rows: pd.DataFrame, needs_words: bool) -> Queries:
        names = [f"{name}/{number}" for number in rows["id"]]
        return queries_of(self.tokenizer, self.patterns[pattern], rows, names, needs_words)


def sample_texts(
    patterns: dict[str, Pattern], evaluation: dict[str, pd.DataFrame]
) -> Iterator[str]:
    """Yield texts of each kind that is tokenized: label words, separators, some queries."""
    for pattern in patterns.values():
        yield from (*pattern.words, pattern.separator)
        for rows in evaluation.values():
            yield from pattern.queries(rows.head(SAMPLE))


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
    uses_context, needs_words, virtual_tokens (those that a method learns in front of every prompt),
    truncate (the tokens that it cuts prompts to, or None) and perhaps end_token (whether label
    words end in the tokenizer's), train_patterns (the patterns that shots are trained with, if not
    its own), trained_behind (behind which of them each is, see `contexts.trained_behind`), and
    `shown` and `cached` where not all shots stand in one context (see `contexts.longest_rows`).
    Raises UserError for label words that cannot be told apart.
    """
    ends = [
        end_tokens(checker.tokenizer, item, checker.patterns[item["pattern"]]) for item in cells
    ]
    needed = [
        (item["pattern"], end) for item, end in zip(cells, ends, strict=True) if item["needs_words"]
    ]
    for pattern, end in dict.fromkeys(needed):
        checker.check_words(pattern, end)
    for item in cells:
        for name in item.get("train_patterns") or () if item["needs_words"] else ():
            end = end_tokens(checker.tokenizer, item, checker.patterns[name])
            shots = checker.shots[item["draw"], item["k"], item["seeds"][0]]
            checker.check_words(name, end, shots)
    rows = []
    for item, end in zip(cells, ends, strict=True):
        name = {**cell, **{key: item[key] for key in ("method", "pattern", "k")}}
        for seed in item["seeds"]:
            context, longest, row = checker.count(item, seed)
            longest += item["virtual_tokens"] + len(end)
            status = OK if longest <= window else UNFIT
            if status == UNFIT:
                asked = f"{item['method']} with pattern {item['pattern']}, k = {item['k']}"
                LOG.info("%s, seed %d: does not fit: a prompt has %d tokens, the model reads %d",
                         asked, seed, longest, window)  # fmt: skip
            shown = checker.shown_rows(item["draw"], item["k"], seed)
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


def describe_windows(windows: pd.DataFrame, divided: Collection[str] = ()) -> list[str]:
    """Return lines that say what of a table (schemas.WINDOWS) does not fit, and how much would.

    A line for each model, method and pattern of a task with such a cell: its numbers of shots with
    the tokens of the longest prompt, and the shots that fit if they are as long as those drawn.
    That is left out for the methods `divided`, which do not show all shots in one context.
    """
    lines, arm = [], ["protocol", "task", "model", "method", "pattern"]
    for key, rows in windows.groupby(arm, sort=False, observed=True):
        unfit, window = rows[rows["status"] == UNFIT], rows["window"].iloc[0]
        if unfit.empty:
            continue
        parts = []
        for k, seeds in unfit.groupby("k"):
            planned = int((rows["k"] == k).sum())
            some = f", {len(seeds)} of {planned} seeds" if len(seeds) < planned else ""
            parts.append(f"k = {k} ({seeds['longest_tokens'].max():,} tokens{some})")
        shown = rows[rows["context_tokens"] > 0]
        each = (shown["context_tokens"] / shown["k"]).max()
        room = window - (shown["longest_tokens"] - shown["context_tokens"]).max()
        told = len(shown) and key[arm.index("method")] not in divided
        fits = f"; about {max(0, int(room / each))} shots do" if told else ""
        lines.append(f"{', '.join(key)}: {', '.join(parts)} not within {window:,}{fits}")
    cells = windows.groupby([*arm, "k"], observed=True)["status"].agg(
        lambda status: (status == OK).all()
    )
    return [*lines, f"{int(cells.sum())} of {len(cells)} cells fit their model's window."]


def _trained_with(cell: Mapping) -> tuple[str, ...]:
    return tuple(cell.get("train_patterns") or (cell["pattern"],))


def _longest_row(prompts: Prompts, limit: int | None) -> tuple[tuple[int, int], str]:
    """Return the tokens to read of the longest row with its prompt cut, and uncut, and its name."""
    lengths = list(zip(prompts.lengths_within(limit), prompts.lengths, strict=True))
    longest = lengths.index(max(lengths))
    return lengths[longest], str(prompts.ids[longest])


def _texts(rows: pd.DataFrame) -> Iterator[tuple[str, str | None]]:
    return zip(rows["text_a"], rows["text_b"], strict=True)
