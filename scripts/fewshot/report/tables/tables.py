"""The tables of a study: each function turns stored evidence into numbers and printed text."""

from dataclasses import replace
from pathlib import Path

from ... import records
from ...analysis.evidence import Evidence, Watched
from ...errors import unknown
from .. import typeset
from ..latex import to_latex
from ..typeset import Table
from .accounts import costs, coverage
from .accuracies import accuracy, hans, headline, model_selection
from .budgets import break_even, cost_accuracy
from .contrasts import comparison, significance
from .inventory import data, hyperparameters, models, prompts
from .matrices import matrix
from .qualities import qualitative
from .scoretable import scores
from .spread import patterns_summary, variance


def make(function: str, evidence: Evidence, catalog: dict, options: dict) -> Table:
    """Return the table of one entry of config/figures.yaml."""
    if function not in TABLES:
        raise unknown("table function", function, TABLES, "figures.yaml: tables")
    watched = Watched(evidence)
    table = TABLES[function](watched, catalog, **options)
    return replace(table, read=tuple(watched.read))


def write(
    table: Table, paths: dict[str, str], name: str, title: str, caption: str, origin: str = ""
) -> None:
    """Write a table to `paths`: parquet and csv hold the numbers, tex and md the text.

    `origin` says, in lines, what the table was made from; tex and md carry it as a comment.
    """
    with records.atomic(paths["parquet"]) as partial:
        table.numbers.to_parquet(partial, compression="zstd", index=False)
    texts = {
        "csv": table.numbers.to_csv(index=False, lineterminator="\n"),
        "tex": to_latex(table, name, title, caption, origin),
        "md": typeset.to_markdown(table, title, caption, origin),
    }
    for kind, text in texts.items():
        with records.atomic(paths[kind]) as partial:
            Path(partial).write_text(text, "utf-8")


TABLES = {
    "headline": headline,
    "accuracy": accuracy,
    "costs": costs,
    "coverage": coverage,
    "hans": hans,
    "model_selection": model_selection,
    "comparison": comparison,
    "significance": significance,
    "matrix": matrix,
    "scores": scores,
    "patterns_summary": patterns_summary,
    "variance": variance,
    "data": data,
    "models": models,
    "hyperparameters": hyperparameters,
    "prompts": prompts,
    "qualitative": qualitative,
    "cost_accuracy": cost_accuracy,
    "break_even": break_even,
}
