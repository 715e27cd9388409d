"""Which rows of a draw stand in one context: all, groups of a few, or a few for each row."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def groups(shots: "pd.DataFrame", shown: int | None = None) -> "list[pd.DataFrame]":
    """Cut a draw, in its order, into the rows of each context: `shown` of them, the last perhaps
    fewer. Without `shown` all stand in one."""
    size = shown or max(1, len(shots))
    return [shots.iloc[start : start + size] for start in range(0, len(shots), size)]


def others(shots: "pd.DataFrame", row: int) -> "pd.DataFrame":
    """Return the rows of a draw but for one, and for copies of it, in their order."""
    return shots[(shots["id"] != shots["id"].iloc[row]).to_numpy()]


def shows_shots(settings: Mapping) -> bool:
    """Return whether a method that trains also reads rows behind all of its shots: those that it
    scores, or those that its teacher answers in context distillation."""
    return any(key in settings for key in ("score_context", "token_dropout", "unlabelled_rows"))


def own_tokens(settings: Mapping) -> int:
    """Return the positions that a method learns in front of every prompt, besides a context; those
    of a cartridge take the context's place, in which its teacher reads more."""
    return 0 if "unlabelled_rows" in settings else settings.get("virtual_tokens", 0)


def trained_behind(settings: Mapping) -> str:
    """Return behind which shots of the draw each of them is read in training: behind the "others",
    "all" where the context itself is trained, or none ("")."""
    if "train_context" in settings:
        return settings["train_context"]
    return "all" if "token_dropout" in settings else ""


def longest_rows(shots: "pd.DataFrame", tokens: list[int], cell: Mapping) -> "pd.DataFrame":
    """Return the rows of the longest context that a cell's prompts may begin with.

    `tokens` are those of each row's demonstration. `cell` has `shown`, the rows of a context; and
    `cached` where each evaluation row is shown others. There the first `cached` rows and the
    `shown` longest of the rest are a bound that depends on no evaluation row.
    """
    if cell.get("cached") is None:
        cut = groups(shots.assign(tokens=tokens), cell["shown"])
        return max(cut, key=lambda rows: rows["tokens"].sum()).drop(columns="tokens")
    cached = min(cell["cached"], len(shots))
    rest = sorted(range(cached, len(shots)), key=lambda row: -tokens[row])
    return shots.iloc[[*range(cached), *rest[: cell["shown"]]]]
