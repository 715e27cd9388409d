"""Differences between all sizes: fine-tuned models against models in context, as published."""

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.pairs import ACROSS_PATTERNS, MATRIX
from ...analysis.titles import model_order, titles
from ...analysis.verdicts import ALPHA
from ...errors import unknown
from ...formatting import BLANK, points
from .. import select
from ..table_text import Table, seeds_text
from .comparisons import (
    clusters_text,
    floors,
    main_comparisons,
    setting_text,
    sides_text,
    where_text,
)


def matrix(
    evidence: Evidence, catalog: dict, *, task: str | None = None, domain: str | None = None,
    family: str | None = None, k: int | None = None, selection: str | None = None,
    arms: list[str] | None = None,
) -> Table:  # fmt: skip
    """Print differences between fine-tuned models (rows) and models in context (columns).

    Without options: all tasks and sets, the catalog's first family of models, its first
    fine-tuned method and pattern that have such comparisons, and the same pattern in context.
    Of `arms` one is fine-tuned and one in context. Without `k` and `selection` they are the
    study's, in domain the last epoch.
    """
    if domain not in (None, "in", "out"):
        raise unknown("domain", domain, ["in", "out"], f"{select.WHERE}.domain")
    pairs = evidence.comparisons
    select.check_options(pairs, catalog, task, None, family, k, selection, arms)
    numbers = main_comparisons(pairs, catalog, (MATRIX, ACROSS_PATTERNS), k, selection)
    numbers = select.one_matrix(numbers, catalog, task, None, family, arms)
    numbers = numbers if domain is None else numbers[numbers["domain"] == domain]
    families = {name: entry["family"] for name, entry in catalog["models"].items()}
    numbers = numbers.assign(model_family=numbers["model"].map(families))
    shown = (name for name in families.values() if name in set(numbers["model_family"]))
    numbers = numbers[numbers["model_family"] == next(shown, None)]
    numbers = select.first_of(numbers, catalog, *select.SIDES).reset_index(drop=True)
    numbers["published"] = numbers["p_welch"].astype(float) < ALPHA
    numbers["corrected"] = numbers["holm_crossed"].astype(float) < ALPHA
    shown = titles(catalog, "models")
    references = ordered_models(catalog, numbers["reference_model"])
    rows = []
    for _, part in numbers.groupby(["task", "domain", "evaluation_set"], sort=False):
        section = f"{where_text(part.iloc[0], catalog)} ({_facts(part)})"
        for model in ordered_models(catalog, part["model"]):
            cells = part[part["model"] == model].set_index("reference_model")
            row = {"section": section, "Fine-tuned ↓ in context →": shown[model]}
            for name in references:
                row[shown[name]] = _mark(cells.loc[name]) if name in cells.index else BLANK
            rows.append(row)
    return Table(numbers, pd.DataFrame(rows), _note(numbers, catalog))


def ordered_models(catalog: dict, column: pd.Series) -> list[str]:
    """Return the models of a column in the catalog's order."""
    return [name for name in model_order(catalog) if name in set(column)]


def _mark(cell: pd.Series) -> str:
    """Return a cell of the matrix: the difference, its marks, and the seeds where some lack."""
    if pd.isna(cell["difference"]):
        return cell["status"]
    marks = "*" * bool(cell["published"]) + "†" * bool(cell["corrected"])
    part = "" if cell["seeds"] == cell["seeds_planned"] else f" ({seeds_text(cell)})"
    return points(cell["difference"]) + marks + part


def _facts(part: pd.DataFrame) -> str:
    rows = part["rows"].max()
    clusters = part["clusters"].max()
    grouped = f" in {clusters:,} clusters" if 0 < clusters < rows else ""
    return f"{rows:,} rows{grouped}, {_span(part['seeds'])} seeds"


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _note(numbers: pd.DataFrame, catalog: dict) -> str:
    if numbers.empty:
        return ""
    return (
        f"{sides_text(numbers.iloc[0], catalog)}, difference of mean accuracies in percentage "
        "points: above zero, fine-tuning is better. * as published: Welch's t-test, "
        f"p < {ALPHA:g}, not corrected (the published level could not be verified). † ours: "
        f"for other draws and rows like these, p < {ALPHA:g} after Holm's correction over the "
        f"{_span(numbers['family_size'])} comparisons of a matrix. {clusters_text(numbers)}"
        f"{setting_text(numbers, catalog)} {floors(numbers)}"
    )
