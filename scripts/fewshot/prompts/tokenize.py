"""From prompts to token ids, with the tokens that all prompts share kept once; truncation."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import UserError

CHUNK = 1024
"""Whole prompts tokenized at once, which bounds memory."""
TAILS = 16
"""Tails kept tokenized; more than that are not label words and will not come again."""
SAMPLE = 8
"""Rows on which a cut through the context is compared with whole prompts."""
_CUT = re.compile(r"(?<=[!-~])\s(?=\s*[!-~])")


Words = tuple[tuple[int, ...], ...]
"""The tokens of each label word."""


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts: the tokens of row i are `prefix + suffixes[i]`.

    `ids` names the rows; `prefix` is the longest start that all rows share and that leaves each
    at least one token of its own. `words[i]` are the label words as they continue row i; where
    they merge with its last characters, the row stops before those. Without words it is empty.
    `per_row` prompts in turn are of one row: more than one with channel scoring, each of which has
    the row's text as its only word (see `channel.ChannelQueries`).
    """

    ids: tuple[object, ...]
    prefix: tuple[int, ...]
    suffixes: list[tuple[int, ...]]
    words: list[Words] = field(default_factory=list)
    per_row: int = 1

    @property
    def whole(self) -> list[int]:
        """Return the tokens of each row's prompt, without label words."""
        return [len(self.prefix) + len(suffix) for suffix in self.suffixes]

    @property
    def lengths(self) -> list[int]:
        """Return the tokens to be read of each row: its prompt and all but the last of its longest
        label word, which is predicted only."""
        return self.lengths_within(None)

    def lengths_within(self, limit: int | None) -> list[int]:
        """Return `lengths` where prompts are cut to at most `limit` tokens (None: they are not)."""
        longest = [max(map(len, words)) - 1 for words in self.words] or [0] * len(self.suffixes)
        return [min(n, limit or n) + more for n, more in zip(self.whole, longest, strict=True)]

    def with_words(self, words: Sequence[int]) -> "Prompts":
        """Return the prompts with the same label words of one token each for all rows.

        With a classification head these are its classes.
        """
        return replace(self, words=[tuple((word,) for word in words)] * len(self.suffixes))

    def ending_in(self, ids: Sequence[int]) -> "Prompts":
        """Return the prompts with the tokens `ids` behind each label word."""
        words = [tuple((*word, *ids) for word in words_of_row) for words_of_row in self.words]
        return replace(self, words=words) if ids else self

    def with_first_tokens(self) -> "Prompts":
        """Return the prompts with the first token of each label word in its place."""
        return replace(self, words=[tuple(word[:1] for word in of_row) for of_row in self.words])

    def of_rows(self, rows: Sequence[int]) -> "Prompts":
        """Return the prompts of some rows, by their places, which may share a longer prefix."""
        suffixes = [self.suffixes[row] for row in rows]
        common = common_start(suffixes)
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            prefix=self.prefix + suffixes[0][:common],
            suffixes=[suffix[common:] for suffix in suffixes],
            words=[self.words[row] for row in rows] if self.words else [],
        )

    def behind(self, ids: Sequence[int]) -> "Prompts":
        """Return the prompts with the tokens `ids` in front of each."""
        return replace(self, prefix=(*ids, *self.prefix))

    def without(self, count: int) -> "Prompts":
        """Return the prompts without their first `count` tokens, which are alike in all."""
        return replace(self, prefix=self.prefix[count:])


class Queries:
    """The queries of one evaluation set and pattern, to be put behind several contexts.

    `words` are the label words to score; none where they do not matter. If `words_alone`, their
    tokens are those of the words by themselves (see `Pattern`); `special` adds the tokenizer's
    special tokens to each prompt. A context is cut before its last word (a demonstration ends in a
    label word), so that only the few different tails are tokenized together with all queries; see
    `_cut`. In the same way label words are tokenized with the last word of a query.
    """

    def __init__(
        self,
        tokenizer,
        texts: Sequence[str],
        ids: Sequence[object] | None = None,
        words: Sequence[str] = (),
        words_alone: bool = False,
        special: bool = True,
    ):
        if not texts:
            raise ValueError("no queries to tokenize")
        self.tokenizer = tokenizer
        self.texts = list(texts)
        self.ids = tuple(range(len(self.texts)) if ids is None else ids)
        self.words = tuple(words)
        self.words_alone = words_alone
        self.special = special
        self._tails: dict[str, list[tuple[int, ...]]] = {}

    def prompts(self, context: str) -> Prompts:
        """Return the prompts `context + query` of all rows, exactly as tokenized whole.

        Raises UserError for a row without tokens of its own before or in a label word.
        """
        start, rest = self._tokens(context)
        if not self.words:
            return share_start(self.ids, start, rest, [])
        endings = self._endings
        if endings is None:
            endings = self._merged(context, [start + row for row in rest])
        for name, (_, words) in zip(self.ids, endings, strict=True):
            if not all(words):
                word = self.words[words.index(())]
                raise UserError(
                    f"row with id {name}: label word {word!r} adds no token to its prompt"
                )
        rest = [
            row[: len(row) - back] if back else row
            for row, (back, _) in zip(rest, endings, strict=True)
        ]
        return share_start(self.ids, start, rest, [words for _, words in endings])

    def _tokens(self, context: str) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Return tokens of whole prompts: a start common to all and the rest of each."""
        if not context:
            return (), self._bare
        cut = self._cut(context)
        if cut is None:
            return (), self._whole(context, self.texts)
        left, tail = context[:cut], context[cut:]
        if tail not in self._tails:
            if len(self._tails) == TAILS:
                self._tails.clear()
            texts = [tail + text for text in self.texts]
            self._tails[tail] = encode(self.tokenizer, texts, special=False)
        start = encode(self.tokenizer, [left], special=self.special)[0]
        sample = self._sample
        whole = self._whole(context, [self.texts[i] for i in sample])
        if any(start + self._tails[tail][i] != w for i, w in zip(sample, whole, strict=True)):
            return (), self._whole(context, self.texts)
        return start, self._tails[tail]

    @cached_property
    def _bare(self) -> list[tuple[int, ...]]:
        return self._whole("", self.texts)

    @cached_property
    def _sample(self) -> list[int]:
        """Return the rows on which a cut is compared with whole prompts."""
        return sorted({i * (len(self.texts) - 1) // SAMPLE for i in range(SAMPLE + 1)})

    @cached_property
    def _marks(self) -> re.Pattern | None:
        """Return what finds special tokens that take no blanks in front of them."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        texts = [
            token.content for token in added
            if token.special and not token.lstrip and not token.single_word
        ]  # fmt: skip
        longest = sorted(filter(None, texts), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest))) if longest else None

    @cached_property
    def _endings(self) -> "list[tuple[int, Words]] | None":
        """Return for each row the tokens that its words take back, and the words' tokens.

        Found from the row's last word alone, which is the same for many rows; None where the
        tokenizer does not cut there, so that whole texts must be asked.
        """
        if self.words_alone:
            alone = encode(self.tokenizer, list(self.words), special=False)
            return [(0, tuple(alone))] * len(self.texts)
        continuations: dict[str, tuple[int, Words]] = {}
        endings = []
        for text in self.texts:
            cut = self._cut(text)
            if cut is None:
                return None
            end = text[cut:]
            if end not in continuations:
                alone, *longer = encode(
                    self.tokenizer, [end, *(end + word for word in self.words)], special=False
                )
                continuations[end] = _split(alone, longer)
            endings.append(continuations[end])
        sample = self._sample
        whole = self._merged("", [self._bare[i] for i in sample], [self.texts[i] for i in sample])
        return endings if whole == [endings[i] for i in sample] else None

    def _merged(
        self, context: str, rows: list[tuple[int, ...]], texts: list[str] | None = None
    ) -> "list[tuple[int, Words]]":
        """Return what `_endings` does, from whole texts; `rows` are their tokens without word."""
        texts = self.texts if texts is None else texts
        longer = [self._whole(context, [text + word for text in texts]) for word in self.words]
        return [
            _split(row, of_row) for row, of_row in zip(rows, zip(*longer, strict=True), strict=True)
        ]

    def _cut(self, context: str) -> int | None:
        """Return where the context can be cut without changing any token, or None.

        Tokenizers with a pre-tokenizer treat each of its pieces apart. It works from left to right
        and looks ahead by one character at most, so a piece that ends between a printable and a
        blank character ends there whatever follows the next word. Whether it does so is asked of
        the pre-tokenizer; other tokenizers get whole prompts. A special token, which comes behind
        that in a chat template, is taken out of the text before all else, so it ends a piece too.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        cuts = [match.start() for match in _CUT.finditer(context)]
        marks = [match.start() for match in self._marks.finditer(context)] if self._marks else []
        if marks and marks[-1] >= max(cuts, default=0):
            return marks[-1]
        if backend is None or backend.pre_tokenizer is None or not cuts:
            return None
        cut = cuts[-1]
        near = max(0, cut - 100)
        pieces = backend.pre_tokenizer.pre_tokenize_str(context[near:])
        return cut if any(start == cut - near for _, (start, _) in pieces) else None

    def _whole(self, context: str, texts: list[str]) -> list[tuple[int, ...]]:
        encoded = []
        for i in range(0, len(texts), CHUNK):
            whole = [context + text for text in texts[i : i + CHUNK]]
            encoded += encode(self.tokenizer, whole, special=self.special)
        return encoded


def encode(tokenizer, texts: list[str], special: bool = True) -> list[tuple[int, ...]]:
    """Tokenize texts whole, with the tokens that the tokenizer adds to a text if `special`."""
    encoded = tokenizer(
        texts, add_special_tokens=special, return_attention_mask=False, verbose=False
    )
    return [tuple(ids) for ids in encoded["input_ids"]]


def _split(alone: tuple[int, ...], longer: Sequence[tuple[int, ...]]) -> tuple[int, Words]:
    """Compare a text's tokens with those of the text and each word behind it.

    Return how many last tokens of the text do not start them all, and what follows those that do.
    """
    stem = min(common_length(alone, ids) for ids in longer)
    return len(alone) - stem, tuple(ids[stem:] for ids in longer)


def common_length(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Return how many tokens two sequences start with alike."""
    shortest = min(len(first), len(second))
    return next((i for i in range(shortest) if first[i] != second[i]), shortest)


def common_start(rows: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens all rows start with alike and keep one of their own behind them; -1
    where a row has none."""
    return min(common_length(min(rows), max(rows)), min(map(len, rows)) - 1)


def share_start(
    ids: Sequence[object],
    start: tuple[int, ...],
    rest: list[tuple[int, ...]],
    words: list[Words],
) -> Prompts:
    """Return the prompts `start + rest[i]` with the longest common prefix moved out."""
    if start and not min(map(len, rest)):
        start, rest = start[:-1], [(start[-1], *row) for row in rest]
    common = common_start(rest)
    if common < 0:
        row = ids[min(range(len(rest)), key=lambda i: len(rest[i]))]
        raise UserError(
            f"row with id {row}: no token of its prompt is left in front of its label words"
        )
    return Prompts(tuple(ids), start + rest[0][:common], [row[common:] for row in rest], words)


LOG = logging.getLogger(__name__)


def truncate(prompts: Prompts, limit: int | None, where: str) -> tuple[Prompts, int]:
    """Return the prompts with at most `limit` tokens, cut on the right, and how many were longer.

    What is cut is the end of the text and the cue behind it: the answer is then asked for in the
    middle of the text, as in Mosbach et al. 2023 (256 tokens). Label words stay whole and count
    for nothing. Without a limit nothing changes. `where` names the rows in the log.
    """
    longer = sum(length > limit for length in prompts.whole) if limit else 0
    if not longer:
        return prompts, 0
    LOG.warning("%s: %d of %d rows cut to %d tokens", where, longer, len(prompts.ids), limit)
    rows = [(prompts.prefix + suffix)[:limit] for suffix in prompts.suffixes]
    # Cut rows may begin alike to their ends; each keeps a token of its own.
    common = common_start(rows)
    return replace(
        prompts, prefix=rows[0][:common], suffixes=[row[common:] for row in rows]
    ), longer
