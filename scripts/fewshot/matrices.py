"""Differences between all sizes: fine-tuned models against models in context, as published."""

import pandas as pd

from .catalog import arm_title, ordered, titles
from .contrasts import ALPHA, floors, main_comparisons, setting_text, where_text
from .errors import unknown
from .evidence import Evidence
from .typeset import BLANK, Table, points, seeds_text

MATRIX = "matrix"
OPTIONS = {
    "task": "tasks", "method": "methods", "pattern": "patterns", "reference_pattern": "patterns",
}  # fmt: skip
"""Options of `matrix` and the part of the catalog that their values are from."""


def matrix(
    evidence: Evidence,
    catalog: dict,
    *,
    task: str | None = None,
    domain: str | None = None,
    family: str | None = None,
    method: str | None = None,
    pattern: str | None = None,
    reference_pattern: str | None = None,
) -> Table:
    """Print differences between fine-tuned models (rows) and models in context (columns).

    Without options: all tasks and sets, the catalog's first family of models, and the first
    fine-tuned method and patterns that have such comparisons.
    """
    wanted = {"task": task, "domain": domain, "family": family, "method": method}
    wanted |= {"pattern": pattern, "reference_pattern": reference_pattern}
    _check(wanted, catalog)
    numbers = main_comparisons(evidence.comparisons, catalog, MATRIX)
    numbers = _narrowed(numbers, catalog, wanted)
    numbers["published"] = numbers["p_welch"] < ALPHA
    numbers["corrected"] = numbers["holm_bootstrap"] < ALPHA
    shown = titles(catalog, "models")
    references = ordered_models(catalog, numbers["reference_model"])
    rows = []
    for _, part in numbers.groupby(["task", "evaluation_set"], sort=False):
        for model in ordered_models(catalog, part["model"]):
            cells = part[part["model"] == model].set_index("reference_model")
            row = {"section": f"{where_text(part.iloc[0], catalog)}; {_facts(part)}"}
            row["Fine-tuned ↓ in context →"] = shown[model]
            for name in references:
                known = name in cells.index
                row[shown[name]] = _mark(cells.loc[name]) if known else BLANK
            rows.append(row)
    return Table(numbers, pd.DataFrame(rows), _matrix_note(numbers, catalog))


def _check(wanted: dict, catalog: dict) -> None:
    """Raise UserError for an option whose value the study does not have."""
    valid = {name: list(catalog[kind]) for name, kind in OPTIONS.items()}
    valid |= {"family": _families(catalog), "domain": ["in", "out"]}
    for option, value in wanted.items():
        if value is not None and value not in valid[option]:
            raise unknown(option, value, valid[option], "config/figures.yaml: options")


def _families(catalog: dict) -> list[str]:
    return list(dict.fromkeys(entry["family"] for entry in catalog["models"].values()))


def _narrowed(numbers: pd.DataFrame, catalog: dict, wanted: dict) -> pd.DataFrame:
    """Return the comparisons that the options choose: where they do not, the first there are."""
    families = {name: entry["family"] for name, entry in catalog["models"].items()}
    numbers = numbers.assign(family_of_models=numbers["model"].map(families))
    for column in ("task", "domain"):
        if wanted[column] is not None:
            numbers = numbers[numbers[column] == wanted[column]]
    order = {"family_of_models": (wanted["family"], _families(catalog))}
    order |= {
        name: (wanted[name], list(catalog[kind])) for name, kind in OPTIONS.items() if name != "task"
    }
    for column, (value, names) in order.items():
        present = set(numbers[column])
        value = value or next((name for name in names if name in present), None)
        numbers = numbers[numbers[column] == value]
    return numbers.reset_index(drop=True)


def ordered_models(catalog: dict, column: pd.Series) -> list[str]:
    """Return the models of a column in the catalog's order."""
    frame = pd.DataFrame({"model": column.drop_duplicates()})
    return ordered(frame.reset_index(drop=True), catalog, ["model"])["model"].tolist()


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
    grouped = f" in {clusters:,} templates" if 0 < clusters < rows else ""
    return f"{rows:,} rows{grouped}, {_span(part['seeds'])} seeds"


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _matrix_note(numbers: pd.DataFrame, catalog: dict) -> str:
    if numbers.empty:
        return ""
    first = numbers.iloc[0]
    ours = arm_title(catalog, first["method"], first["pattern"])
    theirs = arm_title(catalog, first["reference_method"], first["reference_pattern"])
    return (
        f"{ours} minus {theirs}, difference of mean accuracies in percentage points: above zero, "
        f"fine-tuning is better. * as published: Welch's t-test, p < {ALPHA:g}, not corrected (the "
        f"published level could not be verified). † ours: crossed bootstrap over seeds and rows, "
        f"p < {ALPHA:g} after Holm's correction over the {_span(numbers['family_size'])} "
        f"comparisons of a matrix. {setting_text(catalog)} {floors(numbers)}"
    )
