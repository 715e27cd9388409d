"""The answer of a study in sentences: what was found, by which test, and what cannot be known."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ..analysis import stats
from ..analysis.arms import RESAMPLES
from ..analysis.titles import arm_title
from ..formatting import points
from .table_text import Table
from .tables.comparisons import ALPHA, main_comparisons, setting_text, with_agreement

WHERE = {"in": "In domain", "out": "Out of domain"}
VERDICTS = {
    "higher": "Better",
    "lower": "Worse",
    "open": "Not significant",
    "none": "Not tested",
}


CRITERION = (
    f"the crossed bootstrap of seeds and evaluation rows gives p < {ALPHA:g} after Holm's "
    "correction"
)
"""When a difference counts."""


ARMS = ["method", "pattern", "reference_method", "reference_pattern"]


@dataclass(frozen=True)
class Answer:
    """How comparisons were made (`basis`), what they say in short and by method, the limits."""

    basis: str
    short: list[str]
    methods: Table
    limits: list[str]


def answer(comparisons: pd.DataFrame, catalog: dict) -> Answer | None:
    """Return the answer by the comparisons at the main k and selection; None without any."""
    frame = main_comparisons(comparisons, catalog)
    if frame.empty:
        return None
    short = [f"{WHERE[domain]}: {_counts(part)}." for domain, part in _by_domain(frame)]
    return Answer(_basis(frame, catalog), short, _methods(frame, catalog), _limits(frame, catalog))


def _by_domain(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for domain in WHERE:
        part = frame[frame["domain"] == domain]
        if len(part):
            yield domain, part


def _basis(frame: pd.DataFrame, catalog: dict) -> str:
    shared = catalog.get("shared_draws", True)
    draws = "over the same draws" if shared else "over draws of its own (they are not shared)"
    return (
        f"Each fine-tuned model is compared with the same model in context {draws}: "
        f"{setting_text(frame, catalog)} There are {len(frame)} comparisons, corrected by Holm "
        f"among the models of one method, pattern{_and_way(frame)} and evaluation set (up to "
        f"{frame['family_size'].max()}). A difference counts if {CRITERION}."
    )


def _and_way(frame: pd.DataFrame) -> str:
    """Return what the models are corrected within besides, if arms have several references."""
    references = frame.groupby(ARMS[:2])["reference_method"].nunique()
    return ", reference" if (references > 1).any() else ""


def _counts(part: pd.DataFrame) -> str:
    """Say in how many comparisons fine-tuning was better, worse or neither, and by how much."""
    count = part["verdict"].value_counts()
    made = len(part) - count.get("none", 0)
    if not made:
        return "no comparison could be tested"
    known = part.loc[part["difference"].notna(), "difference"].astype(float)
    families = part.groupby(["task", "evaluation_set", *ARMS]).ngroups
    which = f"each method, pattern{_and_way(part)} and evaluation set corrected apart"
    apart = f" ({which})" if families > 1 else ""
    untested = f"; {count['none']} could not be tested" if count.get("none", 0) else ""
    return (
        f"fine-tuning was better in {count.get('higher', 0)} of {made} comparisons, worse in "
        f"{count.get('lower', 0)}, and in {count.get('open', 0)} the difference is not "
        f"significant{untested}{apart}. Differences are {points(known.median())} points in the "
        f"median, from {points(known.min())} to {points(known.max())}"
    )


def _methods(frame: pd.DataFrame, catalog: dict) -> Table:
    """Count, for each method and reference, how often it was better, worse or neither."""
    rows = []
    for domain, of_domain in _by_domain(frame):
        for (method, pattern, *against), part in of_domain.groupby(ARMS, sort=False):
            count = part["verdict"].value_counts()
            rows.append(
                {
                    "section": WHERE[domain],
                    "Method": arm_title(catalog, method, pattern),
                    "Reference": arm_title(catalog, *against),
                    **{title: str(count.get(name, 0)) for name, title in VERDICTS.items()},
                    "Median difference": points(part["difference"].astype(float).median()),
                }
            )
    return Table(frame, pd.DataFrame(rows))


def _limits(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Say what the numbers of seeds, comparisons and rows do not allow to conclude."""
    found = []
    detectable = 100 * frame["detectable"].dropna().astype(float)
    if len(detectable):
        found.append(
            "Not significant does not mean equal. The corrected test finds, four times out of "
            f"five, a difference of {detectable.median():.1f} points (median; "
            f"{detectable.min():.1f} to {detectable.max():.1f}): smaller effects would mostly go "
            "unnoticed."
        )
    half = 50 * (frame["high"] - frame["low"]).dropna().astype(float)
    if len(half):
        found.append(
            "The intervals of differences, which allow for other draws and other evaluation rows, "
            f"reach {half.median():.1f} points to either side in the median ({half.min():.1f} to "
            f"{half.max():.1f})."
        )
    done = frame[frame["seeds"] > 1]
    if len(done) and catalog.get("shared_draws", True):
        size = max(1, int(done["family_size"].max()))
        found.append(stats.floor_note(int(done["seeds"].max()), size, RESAMPLES))
    lacking = frame[frame["seeds"] < frame["seeds_planned"]]
    if len(lacking):
        found.append(
            f"{len(lacking)} of {len(frame)} comparisons lack seeds on one side or the other, and "
            "rest on those that both have; tables mark them."
        )
    agree = with_agreement(frame, catalog)["agree"]
    found.append(
        f"In {(agree == 'no').sum()} of {agree.notna().sum()} comparisons the tests disagree after "
        "correction: see “What each test says”."
    )
    return found
