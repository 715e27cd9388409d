"""Fine-tuning against in-context learning as tables: what the stored comparisons say.

Nothing is computed here but counts and marks; the tests are in `comparison` and `stats`.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ...analysis.comparisons import BASELINE, SAME_MODEL
from ...analysis.evidence import Evidence
from ...analysis.titles import SELECTIONS, arm_title, ordered, set_title, titles
from ...formatting import BLANK, p_value, points
from ..table_text import Table, seeds_text

ALPHA = 0.05
"""Level of every mark and verdict. That of the published matrices could not be verified."""
TESTS = {
    "bootstrap": "Crossed bootstrap",
    "paired": "Paired t",
    "permutation": "Sign flips",
    "welch": "Welch's t",
}
CHOSEN_BY_ITSELF = {
    "in": ("best-in-domain", "In domain, the best epoch was chosen by these very rows"),
    "out": ("best-out-of-domain", "Out of domain, the best epoch was chosen by these very rows"),
}
"""Where a selection is judged by the rows that made it, and how that is said."""
SHOWN = (SAME_MODEL, BASELINE)
"""Families of comparisons that tables print; verdicts are on the first alone."""
ORDER = ["task", "domain", "evaluation_set", "method", "pattern", "model"]
BY_PAIR = [*ORDER[:-1], "reference_method", "model"]
"""The order of comparisons: models that are corrected together stand together."""


def main_comparisons(
    comparisons: pd.DataFrame,
    catalog: dict,
    families: Sequence[str] = (SAME_MODEL,),
    k: int | None = None,
    selection: str | None = None,
    score: str = "accuracy",
) -> pd.DataFrame:
    """Return the comparisons of `families` at `k` and `selection` by one score, in order.

    Without them, those at the study's main k and selection, but in domain at the last epoch: a best
    epoch that in-domain rows choose is better on these rows by chance alone, and a test that takes
    it for given finds fine-tuning better where it is not.
    `verdict` is "higher" or "lower" where the crossed bootstrap's p, corrected by Holm over its
    family, is below ALPHA; "open" where it is not; "none" where there is no such p.
    """
    main = catalog["main"]
    chosen = comparisons[comparisons["family"].isin(families) & (comparisons["score"] == score)]
    chosen = chosen[chosen["k"] == (main["k"] if k is None else k)]
    judged = {"in": selection or "last", "out": selection or main["selection"]}
    chosen = chosen[chosen["selection"] == chosen["domain"].map(judged)]
    frame = ordered(chosen.reset_index(drop=True), catalog, BY_PAIR)
    p = frame["holm_bootstrap"].to_numpy(dtype=float)
    sign = np.where(frame["difference"].to_numpy(dtype=float) > 0, "higher", "lower")
    return frame.assign(
        verdict=np.where(np.isnan(p), "none", np.where(p < ALPHA, sign, "open")).astype(object)
    )


def tests_of(catalog: dict, *, published: bool = True) -> list[str]:
    """Return the tests that the study's draws allow: pairs need draws that all methods share.

    Welch's test is left out where a paired one stands for it, unless the `published` is wanted.
    """
    if not catalog.get("shared_draws", True):
        return ["bootstrap", "welch"]
    return [name for name in TESTS if published or name != "welch"]


def comparison(evidence: Evidence, catalog: dict) -> Table:
    """Print each difference with its interval, corrected tests and what could be detected."""
    numbers = main_comparisons(evidence.comparisons, catalog, SHOWN)
    shown = tests_of(catalog, published=False)
    rows = []
    for row, heads in _pairs(numbers, catalog):
        heads["Difference"] = difference_text(row)
        heads |= {f"p: {TESTS[name]}": p_value(row[f"holm_{name}"]) for name in shown}
        better, detectable = row["improvement"], row["detectable"]
        heads["P(better)"] = BLANK if pd.isna(better) else f"{better:.2f}"
        heads["Detectable"] = BLANK if pd.isna(detectable) else f"{100 * detectable:.1f}"
        rows.append(heads | {"Seeds": seeds_text(row)})
    note = (
        "p: two-sided, after Holm's correction over the models under one heading. "
        "P(better): how often a run of the method beats one of the reference (over shared draws, "
        "that of the same draw). Detectable: the difference in points that the bootstrap finds "
        "four times out of five, after the correction."
    )
    return Table(numbers, pd.DataFrame(rows), _note(numbers, catalog, note))


def significance(evidence: Evidence, catalog: dict) -> Table:
    """Print every test beside the others, plain and corrected, so that disagreement shows."""
    tests = tests_of(catalog)
    numbers = main_comparisons(evidence.comparisons, catalog, SHOWN)
    numbers = with_agreement(numbers, catalog)
    rows = []
    for row, heads in _pairs(numbers, catalog):
        heads["Difference"] = points(row["difference"])
        for name in tests:
            corrected = [row[f"{how}_{name}"] for how in ("holm", "bh") if f"{how}_{name}" in row]
            heads[TESTS[name]] = _plain_and(corrected, row[f"p_{name}"])
        heads["Agree"] = row["agree"] or BLANK
        rows.append(heads | {"Seeds": seeds_text(row)})
    note = (
        "Two-sided p (the same over the models under one heading after Holm's correction; after "
        "Benjamini and Hochberg's, which bounds the share of false findings and is not kept for "
        "sign flips). "
        f"Agree: whether all tests fall on one side of {ALPHA:g} after Holm's correction."
    )
    return Table(numbers, pd.DataFrame(rows), _note(numbers, catalog, note))


def with_agreement(numbers: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Add `agree`: "yes" where all corrected tests fall on one side of ALPHA, else "no"."""
    corrected = numbers[[f"holm_{name}" for name in tests_of(catalog)]].astype(float)
    below, given = (corrected < ALPHA).sum(axis=1), corrected.notna().sum(axis=1)
    agree = np.where((below == 0) | (below == given), "yes", "no").astype(object)
    return numbers.assign(agree=np.where(given > 0, agree, None))


def difference_text(row: dict) -> str:
    """Return 'difference [low, high]' in points, or why there is none or no interval."""
    if pd.isna(row["difference"]):
        return row["status"]
    if pd.isna(row["low"]):
        return f"{points(row['difference'])} ({row['status']})"
    return f"{points(row['difference'])} [{points(row['low'])}, {points(row['high'])}]"


def _pairs(numbers: pd.DataFrame, catalog: dict) -> Iterator[tuple[dict, dict]]:
    """Yield each comparison with what names it: a section for those that are corrected together."""
    for row in numbers.to_dict("records"):
        section = f"{where_text(row, catalog)}: {sides_text(row, catalog)}"
        # A baseline may have no model; the one in context always has.
        model = row["reference_model" if row["family"] == BASELINE else "model"]
        yield row, {"section": section, "Model": titles(catalog, "models")[model]}


def sides_text(row: Mapping, catalog: dict) -> str:
    """Return what is subtracted from what in a comparison."""
    ours = arm_title(catalog, row["method"], row["pattern"])
    return f"{ours} minus {arm_title(catalog, row['reference_method'], row['reference_pattern'])}"


def where_text(row: dict, catalog: dict) -> str:
    """Return the heading of a task and one of its evaluation sets."""
    inside = row["domain"] == "in"
    where = "in domain" if inside else set_title(catalog, row["evaluation_set"])
    return f"{set_title(catalog, row['task'])}, {where}"


def _plain_and(corrected: list[float], plain: float) -> str:
    return BLANK if pd.isna(plain) else f"{p_value(plain)} ({'; '.join(map(p_value, corrected))})"


def setting_text(numbers: pd.DataFrame, catalog: dict) -> str:
    """Return shots and checkpoint of comparisons as sentences, with what they do to numbers."""
    used = dict(zip(numbers["domain"], numbers["selection"], strict=True))
    kinds = [SELECTIONS[used[domain]] for domain in CHOSEN_BY_ITSELF if domain in used]
    checkpoint = (
        kinds[0] if len(set(kinds)) == 1 else "{} in domain, “{}” out of domain".format(*kinds)
    )
    sentences = [f"{numbers['k'].iloc[0]} shots; checkpoint of fine-tuned models: {checkpoint}."]
    sentences += [self_chosen(domain, selection) for domain, selection in used.items()]
    main = catalog["main"]["selection"]
    if used.get("in") == "last":
        sentences.append(self_chosen("in", main, "the comparison uses the last epoch"))
    return " ".join(filter(None, sentences))


def self_chosen(domain: str, selection: str, instead: str = "") -> str:
    """Return a warning where a selection's epoch was chosen by the rows it is judged by, or ''."""
    biased, text = CHOSEN_BY_ITSELF[domain]
    instead = f"; {instead}" if instead else ""
    return f"{text}: read it as too high{instead}." if selection == biased else ""


def _note(numbers: pd.DataFrame, catalog: dict, what: str) -> str:
    """Return the note of a table of comparisons: what is subtracted, `what`, setting and floor."""
    if numbers.empty:
        return ""
    rows = "the same resampled rows on both sides, templates whole, label by label"
    if not catalog.get("shared_draws", True):
        rows += "; the draws are not shared, so seeds of the two sides are resampled apart"
    held = "Baselines are corrected apart and count in no verdict on fine-tuning. "
    held = held if (numbers["family"] == BASELINE).any() else ""
    return (
        f"Difference in percentage points [95 % interval of the crossed bootstrap over seeds and "
        f"rows, {rows}]. {what} {held}{setting_text(numbers, catalog)} {floors(numbers)}"
    ).strip()


def floors(numbers: pd.DataFrame) -> str:
    """Say how small a sign-flip test can get, by seeds and size of the family, as stored."""
    tested = numbers[numbers["floor_permutation"].notna()]
    if tested.empty:
        return ""
    full = tested[tested["seeds"] == tested["seeds"].max()]
    seeds, size = int(full["seeds"].iloc[0]), int(full["family_size"].max())
    floor = float(full["floor_permutation"].min())
    corrected = min(1.0, floor * size)
    never = f", so that it can never be below {ALPHA:g}" if corrected >= ALPHA else ""
    return (
        f"With {seeds} seeds no sign-flip test falls below {floor:.2g}; Holm over {size} "
        f"comparisons makes that {corrected:.2g}{never}."
    )
