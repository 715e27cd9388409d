"""Prompts of channel scoring: the text of each row behind each label word."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ..errors import UserError
from .patterns import ChannelPattern, Pattern
from .tokenize import Prompts, Queries, common_length, encode, share_start


class ChannelQueries(Queries):
    """The rows of one evaluation set and pattern, to be put behind several contexts.

    A row has a prompt for each label in turn: the context and the label's prompt. Its only word is
    the row's text. All have the tokens of the whole text. A token that holds the end of the label's
    prompt and the start of the text counts as the text's, for this label alone.
    """

    def __init__(
        self, tokenizer, pattern: ChannelPattern, texts: Sequence[str], ids: Sequence[object]
    ):
        self.starts = [pattern.label_prompt(label) for label in range(len(pattern.words))]
        whole = [start + text for text in texts for start in self.starts]
        super().__init__(tokenizer, whole, [name for name in ids for _ in self.starts])

    def prompts(self, context: str) -> Prompts:
        """Return the prompts of all rows and labels behind `context`.

        Raises UserError for a row whose text adds no token.
        """
        whole = super().prompts(context)
        starts = encode(self.tokenizer, [context + start for start in self.starts])
        # What all rows begin with is longer than a label's prompt where all texts begin alike.
        shared = min(common_length(start, whole.prefix) for start in starts)
        more = whole.prefix[shared:]
        own, words = [], []
        for i, suffix in enumerate(whole.suffixes):
            tokens, start = more + suffix, starts[i % len(starts)][shared:]
            stem = common_length(start, tokens)
            if stem == len(tokens):
                raise UserError(
                    f"row with id {whole.ids[i]}: its text adds no token behind a label word"
                )
            own.append(tokens[:stem])
            words.append((tokens[stem:],))
        made = share_start(whole.ids, whole.prefix[:shared], own, words)
        return replace(made, per_row=len(starts))


def queries_of(
    tokenizer, pattern: Pattern, rows: pd.DataFrame, ids: Sequence[object], scored: bool = True
) -> Queries:
    """Return the queries of rows (schemas.ROWS) in a pattern, with label words if `scored`; raises
    ValueError for a row that lacks a text."""
    texts = pattern.queries(rows)
    if isinstance(pattern, ChannelPattern):
        return ChannelQueries(tokenizer, pattern, texts, ids)
    words = pattern.words if scored else ()
    return Queries(tokenizer, texts, ids, words, pattern.words_alone, pattern.adds_special)
