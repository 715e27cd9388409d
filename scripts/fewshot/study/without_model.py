"""Cells without a language model: what stands for the model and the pattern that they lack.

Majority, label shares and TF-IDF read no prompt: run once for each model and pattern, the same
numbers would stand in every row of a table. Their cells name NONE in both places instead, whatever
their block of the grid names, so that a study has each of them once for a task and k.
"""

from collections.abc import Mapping

from ..errors import UserError
from .own_entries import Places

NONE = "none"
"""The name of no model, and of no pattern, in cells, paths and columns."""
MODEL = {"title": "No model", "family": NONE, "parameters": 0, "window": 0, "dtype": "float32"}
"""The entry of no model: without parameters it takes no operations and no memory of its own."""
PATTERN = {
    "title": "Texts alone",
    "template": "{text_a}\n{text_b}",
    "template_one_text": "{text_a}",
    "answer": "{label}",
    "separator": "\n\n",
    "rank_by": "sum",
    "word_tokens": "continuation",
}
"""The entry of no pattern: a row's texts, a line each; labels are called by their names."""
ENTRIES = {"models": MODEL, "patterns": PATTERN}


def with_none(registries: Mapping[str, dict], places: Places) -> dict[str, dict]:
    """Return registries with the entries of NONE, last in each.

    Raises UserError where one has an entry of that name.
    """
    for kind in ENTRIES:
        if NONE in registries[kind]:
            raise UserError(
                f"{places.of(kind, NONE)}: '{NONE}' is reserved for baselines that read no "
                f"{kind[:-1]}; choose another name"
            )
    added = {kind: {**registries[kind], NONE: entry} for kind, entry in ENTRIES.items()}
    return {**registries, **added}
