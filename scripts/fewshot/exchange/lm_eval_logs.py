"""Read the logs of samples that lm-evaluation-harness writes, row by row of an evaluation set.

`lm_eval --log_samples` (0.4.13) writes a line for each document: the document, the prompt and
continuation of each choice (`arguments`), log-likelihood and greediness of each choice
(`filtered_resps`, as text) and the right choice (`target`). Which row a line is about is found by
the row's texts, never by its place in the file.
"""

import ast
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..prompts.patterns import Pattern

FILTER = "none"
"""The harness's filter of choices, which changes nothing."""
UNREADABLE = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError),
    *(SyntaxError, MemoryError, RecursionError),
)
"""What reading a line raises that is no sample; the last three are those of nested values."""


@dataclass(frozen=True)
class Sample:
    """One line: the `numbers` that the document gives itself, and its `place` in the harness's
    split; what the model read (`prompt`, `words`); by word its log-probability and whether it was
    the most probable text; and the places of the right words."""

    where: str
    numbers: tuple[int, ...]
    place: int
    texts: frozenset[str]
    prompt: str
    words: tuple[str, ...]
    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]
    target: tuple[int, ...]


@dataclass(frozen=True)
class Logged:
    """What a log tells of an evaluation set's rows, in their order: float32 and bool [rows, words].

    Words are in the order of the pattern's. How many tokens they have, and the normaliser, no log
    tells.
    """

    logprobs: np.ndarray
    greedy: np.ndarray


@dataclass(frozen=True)
class Expected:
    """What a log must be about: rows (schemas.ROWS) of set `name`, pattern and context shown.

    `merge[i]` is the label that word i counts as. `prompts` is "stored" where prompts must be
    context and query, "pattern" where they must end in the query, and else "any".
    """

    name: str
    rows: pd.DataFrame
    merge: Sequence[int]
    pattern: Pattern
    context: str
    prompts: str


def read_log(path: str | Path, expected: Expected) -> Logged:
    """Read a log; raises UserError, naming file and line, unless it has each row exactly once.

    Words must be those of the pattern, in any order; with prompts "any" they are told by the right
    choices. The right choices must be the rows' labels.
    """
    finder = _Finder(expected)
    found: dict[int, Sample] = {}
    for sample in samples(path):
        place = finder.place(sample, found)
        if place in found:
            row = expected.rows["id"].iloc[place]
            raise UserError(
                f"{sample.where}: row with id {row} of '{expected.name}' is there already"
            )
        # The prompt was checked; thousands of them would fill the memory.
        found[place] = Sample(**{**vars(sample), "prompt": "", "texts": frozenset()})
    missing = len(expected.rows) - len(found)
    if missing:
        first = next(i for i in range(len(expected.rows)) if i not in found)
        raise UserError(
            f"{path}: {missing} of the {len(expected.rows)} rows of '{expected.name}' are not in "
            f"it, the first one has id {expected.rows['id'].iloc[first]}"
        )
    ordered = [found[i] for i in range(len(expected.rows))]
    order = _word_order(ordered, expected, path)
    _check_labels(ordered, order, expected)
    return Logged(
        np.array([each.logprobs for each in ordered], dtype=np.float32)[:, order],
        np.array([each.greedy for each in ordered], dtype=bool)[:, order],
    )


def samples(path: str | Path) -> Iterator[Sample]:
    """Yield a log's samples; raises UserError for a line that is none of a choice between words."""
    filters = set()
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                where = f"{path}: line {number}"
                try:
                    entry = json.loads(line)
                    filters.add(entry["filter"])
                    sample = _sample(entry, where) if entry["filter"] == FILTER else None
                except UNREADABLE as error:
                    raise UserError(
                        f"{where}: no sample of a multiple_choice task as lm_eval 0.4 logs it "
                        f"({type(error).__name__}: {error})"
                    ) from None
                if sample:
                    yield sample
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from None
    if FILTER not in filters:
        names = ", ".join(map(str, sorted(filters))) or "it is empty"
        raise UserError(f"{path}: no samples of filter '{FILTER}' ({names})")


def _sample(entry: dict, where: str) -> Sample:
    arguments = [entry["arguments"][f"gen_args_{i}"] for i in range(len(entry["arguments"]))]
    pairs = [(each["arg_0"], each["arg_1"]) for each in arguments]
    # Mutual information asks for each word without a prompt besides.
    kept = [i for i, (prompt, _) in enumerate(pairs) if prompt]
    prompts = {pairs[i][0] for i in kept}
    if len(prompts) != 1:
        raise ValueError(f"{len(prompts)} prompts")
    answers = [entry["filtered_resps"][i] for i in kept]
    words = tuple(pairs[i][1] for i in kept)
    logprobs = tuple(float(answer[0]) for answer in answers)
    if not np.isfinite(logprobs).all():
        raise ValueError("a log-likelihood is not a number")
    doc = entry["doc"]
    numbers = (doc.get("id"), doc.get("idx"))
    return Sample(
        where,
        tuple(each for each in numbers if isinstance(each, int)),
        int(entry["doc_id"]),
        frozenset(value.strip() for value in doc.values() if isinstance(value, str)),
        next(iter(prompts)),
        words,
        logprobs,
        tuple(str(answer[1]) == "True" for answer in answers),
        _target(str(entry["target"]), words),
    )


def _target(text: str, words: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the right words, which the harness writes as numbers or as text."""
    plain = [word.strip() for word in words]
    if text.strip() in plain:
        return (plain.index(text.strip()),)
    value = ast.literal_eval(text)
    places = tuple(value) if isinstance(value, list) else (value,)
    if not all(isinstance(each, int) and 0 <= each < len(words) for each in places):
        raise ValueError(f"target {text} is none of the {len(words)} choices")
    return places


class _Finder:
    """Finds the row that a sample is about."""

    def __init__(self, expected: Expected):
        self.expected = expected
        self.ids = expected.rows["id"].tolist()
        self.texts = list(zip(expected.rows["text_a"], expected.rows["text_b"], strict=True))
        self.by_text: dict[str, list[int]] = {}
        for place, (text, _) in enumerate(self.texts):
            self.by_text.setdefault(text.strip(), []).append(place)

    def place(self, sample: Sample, found: dict[int, Sample]) -> int:
        """Return the place of the sample's row; of rows with the same texts that with its number,
        or else one that is not found yet. Raises UserError where there is none."""
        places = [
            place
            for text in sample.texts
            for place in self.by_text.get(text, ())
            if self.texts[place][1] is None or self.texts[place][1].strip() in sample.texts
        ]
        if not places:
            raise UserError(f"{sample.where}: no row of '{self.expected.name}' has its texts")
        fitting = [place for place in places if self._is_prompt(sample.prompt, place)]
        if not fitting:
            raise UserError(
                f"{sample.where}: its prompt is not that of pattern "
                f"'{self.expected.pattern.name}' for row with id {self.ids[places[0]]} of "
                f"'{self.expected.name}'{self._hint()}"
            )
        numbered = [place for place in fitting if self.ids[place] in sample.numbers]
        new = [place for place in sorted(fitting) if place not in found]
        placed = [place for place in new if self.ids[place] == sample.place]
        return (numbered or placed or new or fitting)[0]

    def _is_prompt(self, prompt: str, place: int) -> bool:
        if self.expected.prompts == "any":
            return True
        query = self.expected.pattern.query(*self.texts[place])
        if self.expected.prompts == "stored":
            return prompt == self.expected.context + query
        return prompt.endswith(query)

    def _hint(self) -> str:
        if self.expected.prompts == "stored":
            return " behind the stored draw; prompts: pattern compares its end alone"
        return "; name the pattern that was used, or say prompts: any"


def _word_order(ordered: list[Sample], expected: Expected, path: str | Path) -> list[int]:
    """Return, for each word of the pattern, its place among the log's choices."""
    words, ours = ordered[0].words, expected.pattern.words
    for each in ordered:
        if each.words != words:
            raise UserError(
                f"{each.where}: its choices {list(each.words)} are not those of the first row, "
                f"{list(words)}: not label words"
            )
    if sorted(words) == sorted(ours):
        return [words.index(word) for word in ours]
    by_label = dict(enumerate(expected.merge))
    labels = expected.rows["label"].tolist()
    told = {each.target: label for each, label in zip(ordered, labels, strict=True)}
    one_to_one = len(set(by_label.values())) == len(by_label) == len(words) == len(told)
    if expected.prompts == "any" and one_to_one and set(told.values()) == set(by_label.values()):
        place = {label: target[0] for target, label in told.items()}
        return [place[label] for label in expected.merge]
    raise UserError(
        f"{path}: its choices {list(words)} are not the label words {list(ours)} of pattern "
        f"'{expected.pattern.name}'"
    )


def _check_labels(ordered: list[Sample], order: list[int], expected: Expected) -> None:
    """Raise UserError unless the right choices are those of the rows' labels."""
    label_of = {place: expected.merge[i] for i, place in enumerate(order)}
    for each, label, number in zip(
        ordered, expected.rows["label"].tolist(), expected.rows["id"].tolist(), strict=True
    ):
        if {label_of[place] for place in each.target} != {label}:
            raise UserError(
                f"{each.where}: its right choice is {[each.words[i] for i in each.target]}, but "
                f"row with id {number} of '{expected.name}' has label {label}"
            )
