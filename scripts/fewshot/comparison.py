"""Fine-tuning against in-context learning on shared draws, pair by pair."""

import pandas as pd

from . import stats
from .catalog import arm_title, is_trained, ordered, set_title, titles
from .evidence import Evidence
from .summary import at_level
from .typeset import BLANK, Table

KEYS = ["task", "model", "evaluation_set", "domain"]
COLUMNS = [
    *KEYS,
    "k",
    "method",
    "pattern",
    "reference",
    "reference_pattern",
    "difference",
    "low",
    "high",
    "p",
    "seeds",
    "verdict",
]


def paired_differences(metrics: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return each fine-tuned arm minus in-context learning at the main k, paired by seed.

    The reference has the same pattern, or the study's first one where in-context learning was not
    run with it. Pairs with fewer than two common seeds are left without an estimate. `verdict` is
    "higher", "lower" or "open" by whether the 95 % interval excludes zero; no correction is made
    for the number of comparisons.
    """
    main, runs = catalog["main"], at_level(metrics)
    runs = runs[(runs["k"] == main["k"]) & (runs["selection"] == main["selection"])]
    runs = runs[runs["status"] == "ok"]
    rows = []
    for key, part in runs.groupby(KEYS, sort=False):
        arms = {arm: rows for arm, rows in part.groupby(["method", "pattern"], sort=False)}
        context = [arm for arm in arms if not is_trained(catalog, arm[0])]
        for arm in arms if context else []:
            if is_trained(catalog, arm[0]):
                same = [other for other in context if other[1] == arm[1]]
                reference = (same or context)[0]
                cell = dict(zip(KEYS, key, strict=True)) | {"k": main["k"]}
                cell |= dict(zip(["method", "pattern"], arm, strict=True))
                cell |= dict(zip(["reference", "reference_pattern"], reference, strict=True))
                rows.append(cell | _difference(arms[arm], arms[reference]))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return ordered(frame, catalog, ["task", "domain", "evaluation_set", "model", "method"])


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict:
    both = ours.merge(theirs, on="seed", suffixes=("", "_reference")).sort_values("seed")
    if len(both) < 2:
        blank = dict.fromkeys(["difference", "low", "high", "p"])
        return {**blank, "seeds": len(both), "verdict": "open"}
    pair = (both[name].astype(float) for name in ("accuracy", "accuracy_reference"))
    test = stats.paired_difference(*pair)
    estimate = test.difference
    verdict = "higher" if estimate.low > 0 else "lower" if estimate.high < 0 else "open"
    bounds = {"difference": estimate.mean, "low": estimate.low, "high": estimate.high}
    return {**bounds, "p": test.p, "seeds": len(both), "verdict": verdict}


def comparison(evidence: Evidence, catalog: dict) -> Table:
    """Print the differences in percentage points, a section per task and evaluation set."""
    numbers = paired_differences(evidence.metrics, catalog)
    rows = []
    for row in numbers.to_dict("records"):
        where = "in domain" if row["domain"] == "in" else set_title(catalog, row["evaluation_set"])
        text = BLANK
        if not pd.isna(row["difference"]):
            values = (100 * row[name] for name in ("difference", "low", "high"))
            text = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*values)
        rows.append(
            {
                "section": f"{set_title(catalog, row['task'])}: {where}",
                "Model": titles(catalog, "models")[row["model"]],
                "Method": arm_title(catalog, row["method"], row["pattern"]),
                "Minus": arm_title(catalog, row["reference"], row["reference_pattern"]),
                "Difference": text,
                "p": BLANK if pd.isna(row["p"]) else _p(row["p"]),
                "Seeds": str(row["seeds"]),
            }
        )
    note = "Percentage points; paired t-test over shared draws, two-sided, not corrected."
    return Table(numbers, pd.DataFrame(rows), note if rows else "")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdicts(metrics: pd.DataFrame, catalog: dict) -> list[str]:
    """Return sentences that count how often each method beat in-context learning."""
    frame = paired_differences(metrics, catalog)
    sentences = []
    arms_compared = ["method", "pattern", "domain", "reference", "reference_pattern"]
    for (method, pattern, domain, *against), part in frame.groupby(arms_compared, sort=False):
        count = part["verdict"].value_counts()
        where = "In domain" if domain == "in" else "Out of domain"
        reference = arm_title(catalog, *against)
        sentences.append(
            f"{where}, {arm_title(catalog, method, pattern)} was better than {reference} in "
            f"{count.get('higher', 0)} of {len(part)} comparisons, worse in "
            f"{count.get('lower', 0)}; in {count.get('open', 0)} the interval of the difference "
            "includes zero."
        )
    return sentences
