"""Fine-tuning against in-context learning as tables: what the stored comparisons say.

Nothing is computed here but counts and marks; the tests are in `comparison` and `stats`.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.pairs import BASELINE, SAME_MODEL
from ...analysis.questions import main_selection
from ...analysis.titles import OWN_METRICS, SELECTIONS, arm_title, ordered, set_title, titles
from ...analysis.verdicts import ALPHA, BETTER, WORSE, judged
from ...formatting import BLANK, number_of, p_value, points
from ..table_text import Table, bounds_text, change_text, seeds_text

TESTS = {
    "crossed": "Crossed t",
    "bootstrap": "Crossed bootstrap",
    "paired": "Paired t",
    "permutation": "Sign flips",
    "welch": "Welch's t",
}
OWN_SCORES = dict(OWN_METRICS.values())
"""Scores that some tasks have beside accuracy, and their titles."""
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
    it for given finds fine-tuning better where it is not. One that the choice half has chosen is
    judged by the test half, which knows nothing of it. Each family is judged as a study of its own
    (`verdicts.judged`).
    """
    main = catalog["main"]
    chosen = comparisons[comparisons["family"].isin(families) & (comparisons["score"] == score)]
    chosen = chosen[chosen["k"] == (main["k"] if k is None else k)]
    checkpoint = {side: selection or main_selection(side, catalog) for side in ("in", "out")}
    chosen = chosen[chosen["selection"] == chosen["domain"].map(checkpoint)]
    frame = ordered(chosen.reset_index(drop=True), catalog, BY_PAIR)
    margin = margin_of(catalog)
    parts = [judged(part, margin) for _, part in frame.groupby("family", sort=False)]
    return pd.concat(parts).sort_index() if parts else judged(frame, margin)


def margin_of(catalog: dict) -> float:
    """Return the smallest difference that matters to the study, in points."""
    return catalog["main"]["margin"]


def tests_of(catalog: dict) -> list[str]:
    """Return the tests that the study's draws allow: pairs need draws that all methods share."""
    if not catalog.get("shared_draws", True):
        return ["crossed", "bootstrap", "welch"]
    return list(TESTS)


def comparison(evidence: Evidence, catalog: dict) -> Table:
    """Print each difference with both its intervals, both tests and the verdict.

    A task with a metric of its own has sections for differences in that, below those in accuracy.
    """
    frames = [
        main_comparisons(evidence.comparisons, catalog, SHOWN, score=score)
        for score in ("accuracy", *OWN_SCORES)
    ]
    frames = [frame for frame in frames if len(frame)] or frames[:1]
    numbers = pd.concat(frames, ignore_index=True)
    rows = []
    for row, heads in _pairs(numbers, catalog):
        better = row["improvement"]
        heads |= {
            "Points [rows like these]": difference_text(row),
            "[These rows]": bounds_text(row["t_low"], row["t_high"]),
            "Verdict": verdict_text(row),
            "p: different": p_value(row["study_difference"]),
            "p: equivalent": p_value(row["study_equivalent"]),
            "P(better)": BLANK if pd.isna(better) else f"{better:.2f}",
            "Seeds": seeds_text(row),
        }
        rows.append(heads)
    note = (
        "These rows: 95 % interval for other draws alone (t over seeds). Verdicts are for "
        f"rows like these; equivalent: within ±{margin_of(catalog):g} points (by the 90 % "
        "interval). p: two-sided that there is no difference, and by two one-sided tests that it "
        "is not within this margin, each after Benjamini and Hochberg's correction over the study, "
        "each score by itself. P(better): how often a run of the method beats one of the "
        "reference (over shared draws, that of the same draw)."
    )
    return Table(numbers, pd.DataFrame(rows), _note(numbers, catalog, note))


def verdict_text(row: Mapping) -> str:
    """Return a verdict, and whether a difference that was found is within the margin."""
    small = row["verdict"] in (BETTER, WORSE) and row["within_margin"]
    return f"{row['verdict']}, within the margin" if small else row["verdict"]


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
    note = _note(numbers, catalog, f"{note} {floors(numbers)}".strip(), with_interval=False)
    return Table(numbers, pd.DataFrame(rows), note)


def with_agreement(numbers: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Add `agree`: "yes" where all corrected tests fall on one side of ALPHA, else "no"."""
    corrected = numbers[[f"holm_{name}" for name in tests_of(catalog)]].astype(float)
    below, given = (corrected < ALPHA).sum(axis=1), corrected.notna().sum(axis=1)
    agree = np.where((below == 0) | (below == given), "yes", "no").astype(object)
    return numbers.assign(agree=np.where(given > 0, agree, None))


def difference_text(row: dict) -> str:
    """Return 'difference [low, high]' in points, or why there is none or no interval, or one for
    the rows alone."""
    if pd.isna(row["difference"]):
        return row["status"]
    if pd.isna(row["low"]):
        return f"{points(row['difference'])} ({row['status']})"
    alone = " (rows alone)" if row["seeds"] < 2 else ""
    return change_text(row, "difference", "low", "high") + alone


def claims(numbers: pd.DataFrame) -> np.ndarray:
    """Return what the interval of each comparison allows for, one of titles.CLAIMS: with one seed
    other rows alone."""
    known, several = numbers["low"].notna(), numbers["seeds"] > 1
    return np.select([~known, several], ["none", "draws and rows"], "rows")


def _pairs(numbers: pd.DataFrame, catalog: dict) -> Iterator[tuple[dict, dict]]:
    """Yield each comparison with what names it: a section for those that are corrected together."""
    for row in numbers.to_dict("records"):
        what = f" ({OWN_SCORES[row['score']]})" if row["score"] in OWN_SCORES else ""
        section = f"{where_text(row, catalog)}{what}: {sides_text(row, catalog)}"
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


def _note(numbers: pd.DataFrame, catalog: dict, what: str, *, with_interval: bool = True) -> str:
    """Return the note of a table of comparisons: what is subtracted, `what` and the setting."""
    if numbers.empty:
        return ""
    paired = (
        "" if catalog.get("shared_draws", True) else "; the draws are not shared, so not paired"
    )
    claim = f" [rows like these: 95 % interval for other draws and other rows, crossed{paired}]"
    interval = claim if with_interval else ""
    held = "Baselines are corrected apart and count in no verdict on fine-tuning. "
    held = held if (numbers["family"] == BASELINE).any() else ""
    return (
        f"Difference in percentage points{interval}. {clusters_text(numbers)}{what} {held}"
        f"{setting_text(numbers, catalog)}"
    ).strip()


def clusters_text(numbers: pd.DataFrame) -> str:
    """Say which rows vary together, and a blank; '' where every row stands alone."""
    clusters = numbers["clusters"]
    if not ((clusters > 0) & (clusters < numbers["rows"])).any():
        return ""
    return (
        "Rows of one template, or with the same first text, are one cluster and vary together, "
        "label by label where a set's design gives each cluster one. "
    )


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
        f"With {number_of(seeds, 'seed')} no sign-flip test falls below {floor:.2g}; Holm over "
        f"{number_of(size, 'comparison')} makes that {corrected:.2g}{never}."
    )
