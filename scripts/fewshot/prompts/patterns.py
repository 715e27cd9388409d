"""Turn rows into text: one function builds demonstrations and queries alike.

A pattern is a template over one or two text fields, an answer that follows it and a separator
that ends a demonstration; with `rank_by: channel` the answer stands before the template. The query
is a demonstration that stops before its label word: blanks between the cue and the word belong to
the word, as byte-level tokenizers want it (" Yes"). Patterns of published code whose queries end in
another way than its demonstrations say so (`query_cue`).
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("text_a", "text_b")
CHANNEL = "channel"
"""What `rank_by` says of a `ChannelPattern`."""
FILES = ("config/patterns.yaml", "config/tasks.yaml")
"""Where patterns and tasks stand, unless a study says otherwise."""
CONTENT_FREE = ("N/A", "", "[MASK]")
"""Inputs without content, of contextual calibration (Zhao et al. 2021)."""


@dataclass(frozen=True)
class Pattern:
    """A prompt format, bound to the label words of one task.

    `parts` alternates literal text and field names (see `parse_template`); `cue` is the text
    between template and label word, without trailing blanks (line breaks stay); `words` holds one
    continuation per label, with its leading blank; `separator` ends every demonstration; `rank_by`
    says what of a word's log-probability ranks labels (see `ranking`).
    `query_cue` stands in a query for the cue, where the two differ. If `words_alone`, the words'
    tokens are those of the words by themselves, whatever they would be as a continuation of the
    prompt.
    """

    name: str
    parts: tuple[tuple[str, str | None], ...]
    cue: str
    words: tuple[str, ...]
    separator: str
    rank_by: str = "sum"
    query_cue: str | None = None
    words_alone: bool = False
    adds_special: ClassVar[bool] = True
    """Whether prompts get the special tokens that a tokenizer adds around a text."""
    answer_end: ClassVar[str] = ""
    """The special token that ends an answer; none: the tokenizer's end token."""

    @property
    def characters(self) -> tuple[int, ...]:
        """Return the characters of each label word, without the blank in front of it."""
        return tuple(len(word.strip()) for word in self.words)

    def query(self, text_a: str, text_b: str | None = None) -> str:
        """Return the prompt of one row: everything before its label word.

        Raises ValueError where the row lacks a text: its absence must not become a word.
        """
        cue = self.cue if self.query_cue is None else self.query_cue
        return self._text(text_a, text_b) + cue

    def demonstration(self, label: int, text_a: str, text_b: str | None = None) -> str:
        """Return one solved example: text, cue, label word and separator.

        Raises ValueError as `query` does.
        """
        return self.unsolved(text_a, text_b) + self.words[label] + self.separator

    def unsolved(self, text_a: str, text_b: str | None = None) -> str:
        """Return a demonstration before its label word; raises ValueError as `query` does."""
        return self._text(text_a, text_b) + self.cue

    def _text(self, text_a: str, text_b: str | None) -> str:
        texts = {"text_a": text_a, "text_b": text_b, None: ""}
        for _, field in self.parts:
            if not isinstance(texts[field], str):
                raise ValueError(f"pattern '{self.name}': {field} is {texts[field]}, not text")
        return "".join(literal + texts[field] for literal, field in self.parts)

    def context(self, rows: Sequence[tuple[int, str, str | None]]) -> str:
        """Join demonstrations, given as (label, text_a, text_b), in their order."""
        return "".join(self.demonstration(*row) for row in rows)

    def queries(self, rows: "pd.DataFrame") -> list[str]:
        """Return the prompt of each row (schemas.ROWS); raises ValueError as `query` does."""
        return [self.query(a, b) for a, b in zip(rows["text_a"], rows["text_b"], strict=True)]

    def content_free(self) -> list[str]:
        """Return the inputs without content of which this pattern makes a prompt: an empty one is
        left out where nothing would stand in front of the label word."""
        return [text for text in CONTENT_FREE if self.query(text, text).strip()]

    def context_of(self, shots: "pd.DataFrame") -> str:
        """Join the demonstrations of rows (schemas.ROWS) in their order."""
        texts = zip(shots["label"], shots["text_a"], shots["text_b"], strict=True)
        return self.context([(int(label), a, b) for label, a, b in texts])


class ChannelPattern(Pattern):
    """A pattern whose label word stands before the text, which is scored behind it: labels are
    ranked by p(text | label), equally probable beforehand (the noisy channel of Min et al. 2022,
    arXiv 2108.04106).

    `cue` is in front of the label word. What the template has before its first field stands behind
    the label word and is given; from that field on all is the text that is scored, the blank in
    front of it included.
    """

    @property
    def _given(self) -> str:
        return self.parts[0][0].rstrip(" ")

    def label_prompt(self, label: int) -> str:
        """Return the prompt of a label: everything before the text that is scored."""
        return self.cue + self.words[label] + self._given

    def query(self, text_a: str, text_b: str | None = None) -> str:
        """Return the text of one row that is scored behind each `label_prompt`; raises ValueError
        where the row lacks a text."""
        return self._text(text_a, text_b)[len(self._given) :]

    def demonstration(self, label: int, text_a: str, text_b: str | None = None) -> str:
        """Return one solved example: cue, label word, text and separator; raises ValueError as
        `query` does."""
        return self.label_prompt(label) + self.query(text_a, text_b) + self.separator

    def content_free(self) -> list[str]:
        """Return none: without a text there is nothing to score."""
        return []


def restore_pattern(values: dict) -> Pattern:
    """Return the pattern whose `dataclasses.asdict` is `values`; tuples may have become lists."""
    kind = ChannelPattern if values["rank_by"] == CHANNEL else Pattern
    return kind(
        values["name"],
        tuple((literal, name) for literal, name in values["parts"]),
        values["cue"],
        tuple(values["words"]),
        values["separator"],
        values["rank_by"],
        values["query_cue"],
        values["words_alone"],
    )


def ranking(
    logprobs: np.ndarray, tokens: np.ndarray, rank_by: str, characters: Sequence[int] | int = ()
) -> np.ndarray:
    """Return what is largest for the predicted label, float64 [rows, labels].

    `logprobs` [rows, labels] are sums over the `tokens` [rows, labels] of each label word, which
    has so many `characters` [labels]. Words are ranked by that "sum"; by its "mean" over tokens,
    the length-normalised rank classification of T-Few (Liu et al. 2022); or by what a character
    has of it, the `acc_norm` of lm-evaluation-harness, whose choices have no blank in front. With
    "channel" they are sums over the tokens of the text behind each label word, ranked as they are.
    """
    sums = np.asarray(logprobs, dtype=np.float64)
    lengths = {"mean": tokens, "characters": characters}
    return sums / np.asarray(lengths[rank_by]) if rank_by in lengths else sums


def best_words(ranks: Sequence[np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Return the index of each row's highest-ranked label word, int64 [rows].

    `ranks` has an array [rows] per label word (see `ranking`), `ids` [rows] are the rows' ids.
    Words that rank exactly alike are told apart by a hash of the row's id, here and nowhere else:
    the order of the labels must not decide, since every tie would then go to the same label.
    """
    best = np.maximum.reduce(ranks)
    word = np.zeros(len(best), dtype=np.int64)
    count = np.zeros(len(best), dtype=np.int64)
    for i, values in reversed(list(enumerate(ranks))):
        highest = values == best
        word[highest] = i
        count += highest
    for row in np.flatnonzero(count > 1):
        tied = [i for i, values in enumerate(ranks) if values[row] == best[row]]
        word[row] = tied[_hashed(int(ids[row])) % len(tied)]
    return word


def exact_ties(ranks: Sequence[np.ndarray]) -> int:
    """Return how many rows have several label words that rank highest."""
    best = np.maximum.reduce(ranks)
    return int((sum((values == best).astype(np.int64) for values in ranks) > 1).sum())


def _hashed(number: int) -> int:
    """Return a well mixed 64-bit number (the finaliser of splitmix64, Steele et al. 2014)."""
    mask = (1 << 64) - 1
    number = (number + 0x9E3779B97F4A7C15) & mask
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & mask
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
    return number ^ (number >> 31)


def parse_template(template: str, where: str) -> tuple[tuple[str, str | None], ...]:
    """Split a template into (literal, field) pairs; braces inside the data never matter.

    Raises UserError for a field other than text_a and text_b, or broken braces.
    """
    return _parse("template", template, FIELDS, where)


def _parse(
    key: str, text: str, valid: Sequence[str], where: str
) -> tuple[tuple[str, str | None], ...]:
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise UserError(f"{where}: {key} '{text}' has broken braces ({error})") from None
    for _, field, spec, conversion in parsed:
        if field is not None and (field not in valid or spec or conversion):
            names = ", ".join("{" + name + "}" for name in valid)
            raise UserError(f"{where}: {key} field '{{{field}}}' is unknown; valid: {names}")
    return tuple((literal, field) for literal, field, _, _ in parsed)


def _before_label(answer: str, where: str) -> str:
    """Return the literal text of an answer before its one field, {label}, which ends it."""
    parts = _parse("answer", answer, ("label",), where)
    if [place for place, (_, field) in enumerate(parts, 1) if field] != [len(parts)]:
        raise UserError(f"{where}: 'answer' must end in {{label}}")
    return "".join(literal for literal, _ in parts)


def bind_pattern(
    name: str, entry: dict, task: str, task_entry: dict, files: tuple[str, str] = FILES
) -> Pattern:
    """Bind a pattern's registry entry to a task: its template and its label words.

    `files` are where the pattern and the task stand. Raises UserError, naming the entry in its
    file, where the pattern has no template for the task's number of text fields or no word for one
    of its labels.
    """
    file, tasks = files
    where = f"{file}: pattern '{name}'"
    fields = len(task_entry["text"])
    key = "template" if fields == 2 else "template_one_text"
    if key not in entry:
        raise UserError(f"{where} has no '{key}', which task '{task}' needs ({fields} text field)")
    parts = parse_template(entry[key], where)
    used = {field for _, field in parts if field}
    if used != set(FIELDS[:fields]):
        need = " and ".join("{" + field + "}" for field in FIELDS[:fields])
        raise UserError(f"{where}: '{key}' must use {need}")
    before = _before_label(entry["answer"], where)
    # A line break stays with the prompt: tokenizers cut behind it, and before a blank.
    cue = before.rstrip(" ")
    blank = before[len(cue) :]
    words = _label_words(entry, task, task_entry, where, tasks)
    if entry["rank_by"] == "characters" and any(word != word.strip() for word in words):
        raise UserError(
            f"{where}: rank_by: characters: a label word of task '{task}' begins or ends in a "
            f"blank, which would count: {words}; valid: the blank in 'answer'"
        )
    words = tuple(blank + word for word in words)
    alone = entry["word_tokens"] == "alone"
    if entry["rank_by"] == CHANNEL:
        _check_channel(entry, where)
    kind = ChannelPattern if entry["rank_by"] == CHANNEL else Pattern
    return kind(
        name, parts, cue, words, entry["separator"], entry["rank_by"], entry.get("query"), alone
    )


def _check_channel(entry: dict, where: str) -> None:
    """Raise UserError for keys that tell how label words continue a text."""
    given = {"query": "query" in entry, "word_tokens": entry["word_tokens"] == "alone"}
    for key in (key for key in given if given[key]):
        raise UserError(
            f"{where}: {key}: with rank_by: channel no label word continues a text; leave it out"
        )


def _label_words(entry: dict, task: str, task_entry: dict, where: str, tasks: str) -> list[str]:
    labels = list(task_entry["labels"])
    if "labels" in entry:
        missing = [label for label in labels if label not in entry["labels"]]
        if missing:
            raise UserError(f"{where}: no label word for '{missing[0]}' of task '{task}'")
        words = [entry["labels"][label] for label in labels]
    elif "verbalizer" not in entry:  # No model reads them.
        words = labels
    else:
        verbalizers = task_entry.get("verbalizers", {})
        if entry["verbalizer"] not in verbalizers:
            raise UserError(
                f"{tasks}: task '{task}' has no verbalizer '{entry['verbalizer']}', "
                f"which {where} uses; "
                f"valid: {', '.join(verbalizers) or 'none'}"
            )
        words = verbalizers[entry["verbalizer"]]
    if len(words) != len(labels):
        raise UserError(f"{tasks}: task '{task}' has {len(labels)} labels but {len(words)} words")
    if len(set(words)) != len(words):
        raise UserError(f"{where}: label words of task '{task}' are not distinct: {words}")
    return list(words)
