"""Differences between all sizes: fine-tuned models against models in context, as published."""

from fnmatch import fnmatchcase

import pandas as pd

from ...analysis.comparisons import ACROSS_PATTERNS, MATRIX
from ...analysis.evidence import Evidence
from ...analysis.titles import SELECTIONS, arm_title, ordered, titles
from ...errors import UserError, unknown
from ...formatting import BLANK, points
from ...study.figure_needs import any_called, check_arms, methods_called
from ..table_text import Table, seeds_text
from .comparisons import ALPHA, floors, main_comparisons, setting_text, where_text

WHERE = "figures.yaml: options"


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
    k: int | None = None,
    selection: str | None = None,
) -> Table:
    """Print differences between fine-tuned models (rows) and models in context (columns).

    Without options: all tasks and sets, the catalog's first family of models, its first
    fine-tuned method and pattern that have such comparisons, and the same pattern in context. A
    method is called by its name or kind (see figure_needs.py); in patterns * stands for
    anything. Without `k` and `selection` they are the study's, in domain the last epoch.
    """
    wanted = {"task": task, "domain": domain, "family": family, "method": method}
    patterns = {"pattern": pattern, "reference_pattern": reference_pattern}
    _check(wanted | patterns | {"selection": selection}, catalog)
    _check_k(k, evidence.comparisons)
    kinds = (MATRIX, ACROSS_PATTERNS)
    numbers = main_comparisons(evidence.comparisons, catalog, kinds, k, selection)
    numbers = _narrowed(numbers, catalog, wanted, (pattern, reference_pattern))
    numbers["published"] = numbers["p_welch"].astype(float) < ALPHA
    numbers["corrected"] = numbers["holm_bootstrap"].astype(float) < ALPHA
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


def _check(wanted: dict, catalog: dict) -> None:
    """Raise UserError for an option whose value the study does not have."""
    valid = {"task": list(catalog["tasks"]), "domain": ["in", "out"], "family": families(catalog)}
    valid["selection"] = [name for name in SELECTIONS if name != "each"]
    for option, names in valid.items():
        if wanted[option] is not None and wanted[option] not in names:
            raise unknown(option, wanted[option], names, WHERE)
    for option in ("pattern", "reference_pattern"):
        # An entry with such a pattern names it in its needs, too: without it, it is not made.
        if wanted[option] is not None and not any_called(catalog["patterns"], wanted[option]):
            raise unknown(option.replace("_", " "), wanted[option], catalog["patterns"], WHERE)
    if wanted["method"] is not None:
        check_arms([wanted["method"]], catalog["methods"], WHERE)


def _check_k(k: int | None, comparisons: pd.DataFrame) -> None:
    """Raise UserError for a number of shots at which nothing is compared."""
    known = sorted(int(each) for each in comparisons["k"].unique())
    if k is not None and known and k not in known:
        valid = ", ".join(map(str, known))
        raise UserError(f"{WHERE}: nothing is compared at k = {k}; valid: {valid}")


def families(catalog: dict) -> list[str]:
    """Return the families of the catalog's models in order."""
    return list(dict.fromkeys(entry["family"] for entry in catalog["models"].values()))


def _narrowed(
    numbers: pd.DataFrame, catalog: dict, wanted: dict, patterns: tuple[str | None, str | None]
) -> pd.DataFrame:
    """Return the comparisons that the options choose: where they do not, the first there are."""
    family_of = {name: entry["family"] for name, entry in catalog["models"].items()}
    numbers = numbers.assign(model_family=numbers["model"].map(family_of))
    for column in ("task", "domain"):
        if wanted[column] is not None:
            numbers = numbers[numbers[column] == wanted[column]]
    own, other = patterns
    methods = list(catalog["methods"])
    methods = methods_called(wanted["method"], catalog["methods"]) if wanted["method"] else methods
    numbers = _first(numbers, "model_family", families(catalog), wanted["family"])
    numbers = _first(numbers, "method", methods)
    numbers = _first(numbers, "pattern", list(catalog["patterns"]), own)
    same = set(numbers["pattern"]) & set(numbers["reference_pattern"])
    other = other or next(iter(same), None)
    numbers = _first(numbers, "reference_pattern", list(catalog["patterns"]), other)
    return _first(numbers, "reference_method", list(catalog["methods"])).reset_index(drop=True)


def _first(
    numbers: pd.DataFrame, column: str, names: list[str], glob: str | None = None
) -> pd.DataFrame:
    """Return the rows with the first of `names` that is there and that `glob` matches."""
    present = set(numbers[column])
    fits = (name for name in names if name in present and fnmatchcase(name, glob or "*"))
    return numbers[numbers[column] == next(fits, None)]


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


def _note(numbers: pd.DataFrame, catalog: dict) -> str:
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
        f"comparisons of a matrix. {setting_text(numbers, catalog)} {floors(numbers)}"
    )
