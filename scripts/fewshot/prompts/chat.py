"""A pattern's texts in the chat template of an instruct model, as the model was trained on them.

A query is the user's turn, its label word begins the assistant's. What the template writes around
these contents is found by rendering a conversation whose contents are marks. Thinking is off where
a template has a switch for it, and the date that some templates write is always the same one.

Which blank stands in front of a label word: the one that the template writes in front of an
assistant's text (Llama 2), and none else. A pattern's own blank (" Yes") parts the word from a cue
in running text, which a turn does not have.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import UserError
from .patterns import Pattern, restore_pattern

if TYPE_CHECKING:
    import pandas as pd

TURNS, ONE_TURN = "turns", "one-turn"
"""Where demonstrations stand: each in turns of its own, or all before the query in the user's."""
MARK = "@@{}@@"
BLANKS = " \n"
SWITCHES = {"enable_thinking": False, "thinking": False}
DATE = {"%d": "26", "%m": "07", "%b": "Jul", "%B": "July", "%Y": "2024"}
"""What templates that ask for today's date are told: Llama 3.2's own where it is told none."""
CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{key}', '{value}')" for key, value in DATE.items())
    + " }}{%- endmacro %}"
)
COMPARED = 3
"""Rows of each set whose whole rendering is compared with what is put together."""


@dataclass(frozen=True, kw_only=True)
class ChatPattern(Pattern):
    """A pattern within a chat template; `words` and `separator` are those of the assistant's turn.

    `plain` is the pattern itself, `chat` the model's setting (see `read_pattern`). `start` is in
    front of the first text, `header` between a demonstration and its label word, `end` between a
    query and its own; `answer_end` is the special token that ends the assistant's turn. If `trims`,
    the template takes blanks off both ends of a text, and so do the texts of rows here.
    """

    adds_special: ClassVar[bool] = False
    plain: Pattern
    chat: dict
    start: str
    header: str
    end: str
    answer_end: str
    trims: bool

    def query(self, text_a: str, text_b: str | None = None) -> str:
        """Return a row's text and what the template writes from there to its label word."""
        return self._trimmed(self.plain.query(text_a, text_b)) + self.end

    def demonstration(self, label: int, text_a: str, text_b: str | None = None) -> str:
        """Return a solved example: two turns, or a part of the user's."""
        return "".join(self._solved(label, text_a, text_b))

    def context(self, rows: Sequence[tuple[int, str, str | None]]) -> str:
        """Return all that stands in front of a query, also where no rows are shown."""
        return self.start + super().context(rows)

    def check(self, tokenizer, shots: "pd.DataFrame | None", rows: "pd.DataFrame") -> None:
        """Compare whole renderings of some rows with context and query, letter by letter.

        Raises UserError for the first that differs.
        """
        context = self.context(()) if shots is None else self.context_of(shots)
        shown = [] if shots is None else list(_rows(shots))
        for row in _rows(rows.head(COMPARED)):
            whole = _render(tokenizer, self.chat, self._contents(shown, row))
            ours = context + self.query(*row[1:])
            if whole != ours:
                at = next(i for i in range(len(whole) + 1) if whole[i : i + 1] != ours[i : i + 1])
                near = slice(max(0, at - 20), at + 20)
                raise UserError(
                    f"{_where(tokenizer)}: its chat template changes texts, so that prompts cannot "
                    f"be put together: {whole[near]!r} in place of {ours[near]!r}"
                )

    def _solved(self, label: int, text_a: str, text_b: str | None) -> tuple[str, str, str, str]:
        """Return a demonstration's text, header, label word and separator."""
        if self.chat["demonstrations"] != TURNS:
            whole = self.plain.demonstration(label, text_a, text_b)
            return whole.lstrip() if self.trims else whole, "", "", ""
        text = self._trimmed(self.plain.unsolved(text_a, text_b))
        return text, self.header, self.words[label], self.separator

    def _contents(self, shown: list[tuple], row: tuple) -> list[str]:
        """Return the contents of the turns that show some rows and ask for another."""
        query = self._trimmed(self.plain.query(*row[1:]))
        solved = [self._solved(*each) for each in shown]
        if self.chat["demonstrations"] != TURNS:
            return ["".join(text for text, *_ in solved) + query]
        return [part for text, _, word, _ in solved for part in (text, word.strip())] + [query]

    def _trimmed(self, text: str) -> str:
        return text.strip() if self.trims else text


def read_pattern(values: dict, tokenizer) -> Pattern:
    """Return the pattern that a job is told (see `patterns.restore_pattern`), within the chat
    template of `tokenizer` if `values` has `chat`.

    `chat` has `demonstrations`, and `system` where a text is given for it; else the template
    writes what it does by default. Raises UserError for a template that cannot be used.
    """
    plain = restore_pattern(values)
    return chat_pattern(plain, tokenizer, values["chat"]) if "chat" in values else plain


def chat_pattern(plain: Pattern, tokenizer, chat: dict) -> ChatPattern:
    """Put a pattern into the tokenizer's chat template; raises UserError where that cannot be."""
    where = _where(tokenizer)
    start, end = _around(tokenizer, chat, 1)
    blank, answer_end = _around_answer(tokenizer, chat, start, end)
    words = tuple(blank + word.strip() for word in plain.words)
    header, separator = "", plain.separator
    if chat["demonstrations"] == TURNS:
        first, header, separator, *again, last = _around(tokenizer, chat, 5)
        if [first, last, *again] != [start, end, header, separator] or not header.endswith(blank):
            raise UserError(
                f"{where}: its chat template writes a turn in another way when others stand before "
                f"or behind it; valid: demonstrations: {ONE_TURN}"
            )
        header = header.removesuffix(blank)
    if end.count("<think>") > end.count("</think>"):
        raise UserError(
            f"{where}: its chat template lets the model think before an answer and has no switch "
            "for it, so that no label word begins the answer; valid: a model that answers at once"
        )
    padded = BLANKS + MARK.format(0) + BLANKS
    whole = _render(tokenizer, chat, [padded])
    trims = whole == start + padded.strip() + end
    if not trims and whole != start + padded + end:
        raise UserError(f"{where}: its chat template changes the blanks around a text")
    return ChatPattern(
        name=plain.name, parts=plain.parts, cue=plain.cue, words=words, separator=separator,
        rank_by=plain.rank_by, query_cue=plain.query_cue, words_alone=plain.words_alone,
        plain=plain, chat=chat, start=start, header=header, end=end,
        answer_end=answer_end, trims=trims,
    )  # fmt: skip


def check_template(tokenizer, chat: dict) -> None:
    """Raise UserError for a tokenizer whose chat template is missing or cannot be used so."""
    chat_pattern(Pattern("", (), "", ("Yes", "No"), ""), tokenizer, chat)


def _around_answer(tokenizer, chat: dict, start: str, end: str) -> tuple[str, str]:
    """Return the blank that the template writes between an answer's header and its text, and the
    special token behind that text; empty where it writes none."""
    solved = _render(tokenizer, chat, [MARK.format(0), MARK.format(1)], ask=False)
    before, _, behind = solved.partition(MARK.format(1))
    blank, token = before.removeprefix(start + MARK.format(0) + end), behind.strip()
    known = token in tokenizer.get_added_vocab()
    return blank if blank.isspace() else "", token if known else ""


def _around(tokenizer, chat: dict, turns: int) -> list[str]:
    """Return what the template writes before, between and behind the contents of turns."""
    marks = [MARK.format(i) for i in range(turns)]
    text = _render(tokenizer, chat, marks)
    if re.findall(MARK.format(r"\d"), text) != marks:
        raise UserError(
            f"{_where(tokenizer)}: its chat template does not write each turn once, in order"
        )
    return re.split(MARK.format(r"\d"), text)


def _render(tokenizer, chat: dict, contents: Sequence[str], ask: bool = True) -> str:
    """Render turns, the user's first, up to where the assistant is to answer if `ask`."""
    where = _where(tokenizer)
    if not tokenizer.chat_template:
        raise UserError(
            f"{where}: its tokenizer has no chat template; valid: an instruct model, or an entry "
            "without 'chat'"
        )
    system = [{"role": "system", "content": chat["system"]}] if "system" in chat else []
    turns = [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)
    ]
    try:
        template = tokenizer.get_chat_template()
        if "strftime_now" in template:
            template = CLOCK + template
        return tokenizer.apply_chat_template(
            system + turns, tokenize=False, add_generation_prompt=ask, chat_template=template,
            **SWITCHES,
        )  # fmt: skip
    except Exception as error:  # a template raises whatever its author wrote
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{where}: its chat template cannot be used ({reason})") from None


def _rows(rows: "pd.DataFrame") -> Iterator[tuple[int, str, str | None]]:
    labels = rows["label"].astype(int)
    return zip(labels, rows["text_a"], rows["text_b"], strict=True)


def _where(tokenizer) -> str:
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    return f"models.yaml: chat, model in '{name}'"
