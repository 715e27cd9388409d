"""The tables of a study: each function turns stored evidence into numbers and printed text."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from ... import storage
from ...analysis.evidence import Evidence, Watched
from ...errors import unknown
from .. import table_text
from ..latex import to_latex
from ..provenance import origin
from ..table_text import Table
from .accuracy import accuracy, hans, headline, model_selection
from .aggregates import aggregate_table
from .bias import bias
from .calibration import calibrated_comparison, calibration
from .choices import honest_choice
from .comparisons import comparison, significance
from .costs import break_even, cost_accuracy, costs, coverage
from .forgetting import forgetting
from .latency import latency
from .matrix import matrix
from .money import money
from .questions import questions
from .scores import scores
from .study_contents import data, hyperparameters, models, prompts
from .variability import patterns_summary, variance

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet computes."""


def make_table(function: str, evidence: Evidence, catalog: dict, options: dict) -> Table:
    """Return the table of one entry of config/figures.yaml."""
    if function not in TABLES:
        raise unknown("table function", function, TABLES, "figures.yaml: tables")
    watched = Watched(evidence)
    table = TABLES[function](watched, catalog, **options)
    return replace(table, read=tuple(watched.read))


def write_table(
    paths: dict[str, str | Path], name: str, entry: dict, evidence: Evidence, catalog: dict,
    files: dict[str, list[str]], code: str,
) -> None:  # fmt: skip
    """Make the table of an entry and write it to `paths` (see `write_table_files`).

    `files` are those of the evidence by its parts, `code` the version of the code.
    """
    table = make_table(entry["function"], evidence, catalog, entry["options"])
    made = origin(table.read, files, code)
    write_table_files(table, paths, name, entry["title"], entry["caption"], made)


def write_table_files(
    table: Table, paths: dict[str, str | Path], name: str, title: str, caption: str, made: str = ""
) -> None:
    """Write a table to `paths`: parquet and csv hold the numbers, tex and md the text.

    `made` says, in lines, what the table was made from; tex and md carry it as a comment.
    """
    with storage.atomic(paths["parquet"]) as partial:
        table.numbers.to_parquet(partial, compression="zstd", index=False)
    texts = {
        "csv": _spelled_out(table.numbers).to_csv(index=False, lineterminator="\n"),
        "tex": to_latex(table, name, title, caption, made),
        "md": table_text.to_markdown(table, title, caption, made),
    }
    for kind, text in texts.items():
        with storage.atomic(paths[kind]) as partial:
            Path(partial).write_text(text, "utf-8")


def _spelled_out(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which a spreadsheet finds no formula: an apostrophe stands before a text
    that would be one. Titles may come from an archive, subsets from a data set."""

    def spelled(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value

    texts = table.select_dtypes(exclude=("number", "bool")).columns
    return table.assign(**{name: table[name].map(spelled) for name in texts}).rename(
        columns=spelled
    )


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
    "questions": questions,
    "scores": scores,
    "calibration": calibration,
    "calibrated_comparison": calibrated_comparison,
    "honest_choice": honest_choice,
    "patterns_summary": patterns_summary,
    "variance": variance,
    "data": data,
    "models": models,
    "hyperparameters": hyperparameters,
    "prompts": prompts,
    "cost_accuracy": cost_accuracy,
    "break_even": break_even,
    "money": money,
    "latency": latency,
    "forgetting": forgetting,
    "aggregates": aggregate_table,
    "bias": bias,
}
