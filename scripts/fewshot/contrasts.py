"""Fine-tuning against in-context learning in words: a table and sentences of the comparisons."""

import numpy as np
import pandas as pd

from .catalog import arm_title, ordered, set_title, titles
from .evidence import Evidence
from .pairing import SAME_MODEL
from .typeset import BLANK, Table

ALPHA = 0.05
NOTE = (
    "Percentage points [95 % interval], crossed bootstrap of seeds and evaluation rows. p: the "
    "same, two-sided, after Holm's correction for all models of a method, pattern and evaluation "
    "set; t: the paired t-test over shared draws, so corrected."
)
NOTE_UNSHARED = (
    "Percentage points [95 % interval], bootstrap of evaluation rows and of each side's seeds "
    "apart, since the draws are not shared. p: the same, two-sided, after Holm's correction for "
    "all models of a method, pattern and evaluation set; t: Welch's t-test, so corrected."
)


def main_differences(comparisons: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the comparisons of each model with itself at the main k and selection, in order.

    `verdict` is "higher", "lower" or "open" by whether the crossed bootstrap's p, adjusted by Holm
    (see pairing.py for the families), is below ALPHA; "none" where there is no such p.
    """
    main = catalog["main"]
    chosen = comparisons[
        (comparisons["family"] == SAME_MODEL)
        & (comparisons["k"] == main["k"])
        & (comparisons["selection"] == main["selection"])
    ]
    p = chosen["holm_bootstrap"].to_numpy(dtype=float)
    sign = np.where(chosen["difference"].to_numpy(dtype=float) > 0, "higher", "lower")
    verdict = np.where(np.isnan(p), "none", np.where(p < ALPHA, sign, "open"))
    frame = chosen.assign(verdict=verdict)
    return ordered(
        frame, catalog, ["task", "domain", "evaluation_set", "model", "method", "pattern"]
    )


def comparison(evidence: Evidence, catalog: dict) -> Table:
    """Print the differences in percentage points, a section per task and evaluation set."""
    numbers = main_differences(evidence.comparisons, catalog)
    shared = catalog.get("shared_draws", True)
    rows = [
        {
            "section": _section(row, catalog),
            "Model": titles(catalog, "models")[row["model"]],
            "Method": arm_title(catalog, row["method"], row["pattern"]),
            "Minus": arm_title(catalog, row["reference_method"], row["reference_pattern"]),
            "Difference": _difference(row),
            "p": _p(row["holm_bootstrap"]),
            "t": _p(row["holm_paired" if shared else "holm_welch"]),
            "Seeds": _seeds(row),
        }
        for row in numbers.to_dict("records")
    ]
    note = NOTE if shared else NOTE_UNSHARED
    return Table(numbers, pd.DataFrame(rows), note if rows else "")


def _section(row: dict, catalog: dict) -> str:
    where = "in domain" if row["domain"] == "in" else set_title(catalog, row["evaluation_set"])
    return f"{set_title(catalog, row['task'])}: {where}"


def _difference(row: dict) -> str:
    if pd.isna(row["difference"]):
        return row["status"]
    if pd.isna(row["low"]):
        return f"{100 * row['difference']:+.1f} ({row['status']})"
    values = (100 * row[name] for name in ("difference", "low", "high"))
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*values)


def _seeds(row: dict) -> str:
    done, planned = row["seeds"], row["seeds_planned"]
    return str(done) if done == planned else f"{done}/{planned}"


def _p(p: float) -> str:
    if pd.isna(p):
        return BLANK
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdicts(comparisons: pd.DataFrame, catalog: dict) -> list[str]:
    """Return sentences that count how often each method beat in-context learning."""
    frame = main_differences(comparisons, catalog)
    sentences = []
    arms = ["method", "pattern", "domain", "reference_method", "reference_pattern"]
    for (method, pattern, domain, *against), part in frame.groupby(arms, sort=False):
        count = part["verdict"].value_counts()
        where = "In domain" if domain == "in" else "Out of domain"
        untested = count.get("none", 0)
        sentences.append(
            f"{where}, {arm_title(catalog, method, pattern)} was better than "
            f"{arm_title(catalog, *against)} in {count.get('higher', 0)} of {len(part)} "
            f"comparisons, worse in {count.get('lower', 0)}; in {count.get('open', 0)} the "
            "difference is not significant"
            + (f"; {untested} could not be tested." if untested else ".")
        )
    return sentences
