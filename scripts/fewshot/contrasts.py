"""Fine-tuning against in-context learning as tables: what the stored comparisons say.

Nothing is computed here but counts and marks; the tests are in `comparison` and `stats`.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from .catalog import SELECTIONS, arm_title, ordered, set_title, titles
from .evidence import Evidence
from .typeset import BLANK, Table, p_value, points, seeds_text

ALPHA = 0.05
"""Level of every mark and verdict. That of the published matrices could not be verified."""
SAME = "same model"
TESTS = {
    "bootstrap": "Crossed bootstrap",
    "paired": "Paired t",
    "permutation": "Sign flips",
    "welch": "Welch's t",
}
ORDER = ["task", "domain", "evaluation_set", "model", "method", "pattern"]


def main_comparisons(comparisons: pd.DataFrame, catalog: dict, family: str = SAME) -> pd.DataFrame:
    """Return the comparisons of a family at the study's main k and selection, in order.

    `verdict` is "higher" or "lower" where the crossed bootstrap, corrected by Holm over its family,
    is below ALPHA; "open" where it is not; "none" where there is no estimate.
    """
    main = catalog["main"]
    chosen = comparisons[comparisons["family"] == family]
    chosen = chosen[(chosen["k"] == main["k"]) & (chosen["selection"] == main["selection"])]
    frame = ordered(chosen.reset_index(drop=True), catalog, ORDER)
    return frame.assign(verdict=[_verdict(row) for row in frame.to_dict("records")])


def _verdict(row: dict) -> str:
    if pd.isna(row["difference"]):
        return "none"
    if not row["holm_bootstrap"] < ALPHA:
        return "open"
    return "higher" if row["difference"] > 0 else "lower"


def comparison(evidence: Evidence, catalog: dict) -> Table:
    """Print each difference with its interval, three corrected tests and what could be detected."""
    numbers = main_comparisons(evidence.comparisons, catalog)
    rows = []
    for row, heads in _pairs(numbers, catalog):
        tests = {
            f"p, {TESTS[name].lower()}": p_value(row[f"holm_{name}"])
            for name in ("bootstrap", "paired", "permutation")
        }
        better = BLANK if pd.isna(row["improvement"]) else f"{row['improvement']:.2f}"
        detectable = BLANK if pd.isna(row["detectable"]) else f"{100 * row['detectable']:.1f}"
        found = {"Difference": difference_text(row, "low", "high"), **tests}
        found |= {"P(better)": better, "Detectable": detectable, "Seeds": seeds_text(row)}
        rows.append(heads | found)
    return Table(numbers, pd.DataFrame(rows), _comparison_note(numbers, catalog))


def significance(evidence: Evidence, catalog: dict) -> Table:
    """Print every test beside the others, plain and corrected, so that disagreement shows.

    `agree` tells whether all four corrected tests fall on the same side of ALPHA.
    """
    numbers = main_comparisons(evidence.comparisons, catalog)
    corrected = numbers[[f"holm_{name}" for name in TESTS]].astype(float)
    below = (corrected < ALPHA).sum(axis=1)
    given = corrected.notna().sum(axis=1)
    agree = pd.Series(np.where((below == 0) | (below == given), "yes", "no"), numbers.index)
    numbers = numbers.assign(agree=agree.where(given > 0, None))
    rows = []
    for row, heads in _pairs(numbers, catalog):
        heads["Difference"] = points(row["difference"])
        for name, title in TESTS.items():
            heads[title] = _both(row[f"p_{name}"], row[f"holm_{name}"])
        heads["Agree"] = row["agree"] or BLANK
        rows.append(heads | {"Seeds": seeds_text(row)})
    note = _comparison_note(numbers, catalog, "p plain (p after Holm's correction).")
    return Table(numbers, pd.DataFrame(rows), note)


def difference_text(row: dict, low: str, high: str) -> str:
    """Return 'difference [low, high]' in points, or why there is none."""
    if pd.isna(row["difference"]):
        return row["status"]
    return f"{points(row['difference'])} [{points(row[low])}, {points(row[high])}]"


def _pairs(numbers: pd.DataFrame, catalog: dict) -> Iterator[tuple[dict, dict]]:
    """Yield each comparison with the columns that name it; one reference for all is in the note."""
    several = numbers["reference_pattern"].nunique() > 1
    several |= numbers["reference_method"].nunique() > 1
    for row in numbers.to_dict("records"):
        heads = {
            "section": where_text(row, catalog),
            "Model": titles(catalog, "models")[row["model"]],
            "Method": arm_title(catalog, row["method"], row["pattern"]),
        }
        if several:
            reference = arm_title(catalog, row["reference_method"], row["reference_pattern"])
            heads["Minus"] = reference
        yield row, heads


def where_text(row: dict, catalog: dict) -> str:
    """Return the heading of a task and one of its evaluation sets."""
    inside = row["domain"] == "in"
    where = "in domain" if inside else set_title(catalog, row["evaluation_set"])
    return f"{set_title(catalog, row['task'])}: {where}"


def _both(plain: float, corrected: float) -> str:
    return BLANK if pd.isna(plain) else f"{p_value(plain)} ({p_value(corrected)})"


def setting_text(catalog: dict) -> str:
    """Return the main number of shots and checkpoint as a sentence."""
    main = catalog["main"]
    return f"{main['k']} shots; checkpoint of fine-tuned models: {SELECTIONS[main['selection']]}."


def _comparison_note(numbers: pd.DataFrame, catalog: dict, what: str = "") -> str:
    if numbers.empty:
        return ""
    reference = numbers[["reference_method", "reference_pattern"]].drop_duplicates()
    single = len(reference) == 1
    title = arm_title(catalog, *reference.iloc[0]) if single else "in-context learning"
    what = what or (
        "p-values after Holm's correction over each family of comparisons. P(better): probability "
        "that a run of the method beats one of the reference. Detectable: difference in points "
        "that a paired t-test of so many seeds finds four times out of five, not corrected."
    )
    return (
        f"Fine-tuned minus {title}, percentage points [95 % interval of the crossed bootstrap over "
        f"seeds and rows]. {what} {setting_text(catalog)} {floors(numbers)}"
    )


def floors(numbers: pd.DataFrame) -> str:
    """Say how small a sign-flip test can get, by seeds and size of the family, as stored."""
    known = numbers[numbers["floor_permutation"].notna()]
    if known.empty:
        return ""
    full = known[known["seeds"] == known["seeds"].max()]
    seeds, size = int(full["seeds"].iloc[0]), int(full["family_size"].max())
    floor = float(full["floor_permutation"].min())
    corrected = min(1.0, floor * size)
    never = f", which is never below {ALPHA:g}" if corrected >= ALPHA else ""
    return (
        f"With {seeds} seeds no sign-flip test falls below {floor:.2g}; Holm over {size} "
        f"comparisons makes that {corrected:.2g}{never}."
    )
