"""What a study found, first: a sentence for each domain, and a verdict for each model and set."""

from collections.abc import Iterator

import pandas as pd

from ..analysis.titles import model_order, titles
from ..analysis.verdicts import BETTER, EQUIVALENT, UNDECIDED, UNTESTED, WORSE
from ..formatting import BLANK, number_of, points
from .table_text import Table
from .tables.comparisons import (
    difference_text,
    margin_of,
    setting_text,
    sides_text,
    verdict_text,
    where_text,
)

WHERE = {"in": "In domain", "out": "Out of domain"}
ARMS = ["method", "pattern", "reference_method", "reference_pattern"]
MOST_NAMES = 4
"""Up to so many models are all told by name."""
MOST_ROWS = 12
"""With more rows the verdicts show the first way of fine-tuning alone, to fit on one screen."""


def by_domain(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (domain, its comparisons), in domain first, of the domains that have any."""
    for domain in WHERE:
        part = frame[frame["domain"] == domain]
        if len(part):
            yield domain, part


def sentences(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Return what was found in a sentence for each domain, with its numbers.

    `frame` holds the main comparisons with their verdicts (`tables.comparisons.main_comparisons`).
    """
    return [
        f"{WHERE[domain]}, {_found(part, catalog)}{_numbers(part)}."
        for domain, part in by_domain(frame)
    ]


def _found(part: pd.DataFrame, catalog: dict) -> str:
    """Say what the verdicts of one domain come to."""
    count = part["verdict"].value_counts()
    better, worse, equal, untested = (
        int(count.get(name, 0)) for name in (BETTER, WORSE, EQUIVALENT, UNTESTED)
    )
    made = len(part) - untested
    if not made:
        why = ", as each has one seed" if (part["seeds"] == 1).all() else ""
        return f"no comparison could be tested{why}"
    if better and worse:
        said = f"fine-tuning is {_directions(part, better, worse, made, catalog)}"
    elif better or worse:
        way = BETTER if better else WORSE
        said = f"fine-tuning is {way} than in-context learning in {_of(better + worse, made)}"
    elif equal == made:
        within = f"are equivalent within ±{margin_of(catalog):g} points"
        return f"fine-tuning and in-context learning {within} in {_of(made, made)}{_left(untested)}"
    elif made == 1:
        return f"no difference was found in the one comparison, which is undecided{_left(untested)}"
    else:
        said = f"no difference was found in any of {number_of(made, 'comparison')}"
    margin, undecided = margin_of(catalog), int(count.get(UNDECIDED, 0))
    return f"{said}{_small(part, margin)}{_rest(equal, undecided, margin)}{_left(untested)}"


def _small(part: pd.DataFrame, margin: float) -> str:
    """Say how many of the differences that were found are within the margin; nothing if none."""
    found = part.loc[part["verdict"].isin([BETTER, WORSE]), "within_margin"]
    which = "" if len(found) == 1 else f"{found.sum()} of them "
    return f", {which}within ±{margin:g} points" if found.any() else ""


def _of(count: int, made: int) -> str:
    """Return in how many of the comparisons that were made."""
    if count < made:
        return f"{count} of {number_of(made, 'comparison')}"
    return {1: "the one comparison", 2: "both comparisons"}.get(made, f"all {made} comparisons")


def _directions(part: pd.DataFrame, better: int, worse: int, made: int, catalog: dict) -> str:
    """Say that fine-tuning is better here and worse there, by size where that tells them apart."""
    sizes = {name: catalog["models"][name]["parameters"] for name in model_order(catalog)}
    by_size = sorted(sizes, key=sizes.get)
    ours, theirs = (
        [name for name in by_size if name in set(part.loc[part["verdict"] == verdict, "model"])]
        for verdict in (BETTER, WORSE)
    )
    counts = f"in {better} and {worse} of {number_of(made, 'comparison')}"
    if sizes[ours[0]] > sizes[theirs[-1]]:
        which = "larger", "smaller"
    elif sizes[theirs[0]] > sizes[ours[-1]]:
        which = "smaller", "larger"
    else:
        return f"better than in-context learning in {better} and worse in {_of(worse, made)}"
    up, down = (_models(*each, catalog) for each in zip(which, (ours, theirs), strict=True))
    return f"better with {up} and worse with {down} than in-context learning, {counts}"


def _models(which: str, models: list[str], catalog: dict) -> str:
    """Return the larger or smaller models by name; if there are many, the first and the last."""
    named = [titles(catalog, "models")[name] for name in models]
    told = ", ".join(named) if len(named) <= MOST_NAMES else f"{named[0]} to {named[-1]}"
    return f"the {which} model{'s' if len(named) > 1 else ''} ({told})"


def _rest(equal: int, undecided: int, margin: float) -> str:
    """Say how many comparisons that found no difference are equivalent, and how many undecided."""
    parts = [(equal, f"equivalent within ±{margin:g} points"), (undecided, "undecided")]
    said = [f"{count} {'is' if count == 1 else 'are'} {what}" for count, what in parts if count]
    return f"; {' and '.join(said)}" if said else ""


def _left(untested: int) -> str:
    return f"; {untested} could not be tested" if untested else ""


def _numbers(part: pd.DataFrame) -> str:
    """Return the size of differences and of intervals, in brackets; nothing without any."""
    known = part.loc[part["difference"].notna(), "difference"].astype(float)
    # With one seed an interval is for other rows alone.
    ranges = part.loc[(part["seeds"] > 1) & part["low"].notna(), ["low", "high"]].astype(float)
    if known.empty:
        return ""
    if len(known) == 1:
        ends = [f"{points(row.low)} to {points(row.high)}" for row in ranges.itertuples()]
        found = f"; 95 % interval for rows like these {ends[0]}" if ends else ""
        return f" ({points(known.iloc[0])} points{found})"
    half = 50 * (ranges["high"] - ranges["low"]).median()
    found = (
        f"; 95 % intervals for rows like these reach {half:.1f} points in the median"
        if len(ranges)
        else ""
    )
    spread = f"from {points(known.min())} to {points(known.max())}"
    return f" (median {points(known.median())} points, {spread}{found})"


def verdicts(frame: pd.DataFrame, catalog: dict) -> Table:
    """Return a row per model and a column per task and evaluation set: verdict and difference.

    A section is a way of fine-tuning minus its reference; with more than MOST_ROWS rows only the
    first is shown.
    """
    arms = list(frame.groupby(ARMS, sort=False))
    many = sum(part["model"].nunique() for _, part in arms) > MOST_ROWS and len(arms) > 1
    shown = frame if not many else arms[0][1]
    places = list(dict.fromkeys(where_text(row, catalog) for row in shown.to_dict("records")))
    rows: dict[tuple[str, str], dict] = {}
    for row in shown.to_dict("records"):
        section, model = sides_text(row, catalog), titles(catalog, "models")[row["model"]]
        blank = {"section": section, "Model": model, **dict.fromkeys(places, BLANK)}
        rows.setdefault((section, model), blank)[where_text(row, catalog)] = _cell(row)
    note = (
        "Verdict and difference in points [95 % interval for rows like these: other draws, other "
        f"rows]. {setting_text(frame, catalog)}"
    )
    more = f" This is the first of {len(arms)} ways of fine-tuning; all are counted below."
    return Table(shown, pd.DataFrame(list(rows.values())), note + more * many, words=True)


def _cell(row: dict) -> str:
    """Return a verdict with the difference, or why there is none."""
    text = difference_text(row)
    return text if pd.isna(row["difference"]) else f"{verdict_text(row)} {text}"
