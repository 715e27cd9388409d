"""The queries of evaluation sets, tokenized once for all that reads them in a process."""

import pandas as pd

from .channel import queries_of
from .patterns import Pattern
from .tokenize import Queries


class SetQueries:
    """Queries by pattern and evaluation set, made when they are first asked for.

    A job counts their tokens to see whether they fit the window, and then reads them.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self._made: dict[tuple[str, str, bool], tuple[pd.DataFrame, Queries]] = {}

    def of(self, pattern: Pattern, name: str, rows: pd.DataFrame, scored: bool = True) -> Queries:
        """Return the queries of rows (schemas.ROWS) of set `name`, with label words if `scored`.

        A pattern and a set are known by their names; other rows under one name take the place of
        those before.
        """
        key = (pattern.name, name, scored)
        known, queries = self._made.get(key, (None, None))
        if known is not rows:
            names = [f"{name}/{number}" for number in rows["id"]]
            queries = queries_of(self.tokenizer, pattern, rows, names, scored)
            self._made[key] = rows, queries
        return queries
