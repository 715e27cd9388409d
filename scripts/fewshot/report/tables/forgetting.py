"""What adaptation changes outside its task: texts and other tasks, before and after."""

from collections.abc import Mapping

import pandas as pd

from ...analysis.cell_costs import ORDER
from ...analysis.evidence import Evidence
from ...analysis.forgetting import ASKED, TEXT, source_title, sources_in_order, worse
from ...analysis.metrics import CELL
from ...analysis.summary import seed_counts
from ...analysis.titles import arm_title, ordered, set_title
from ...formatting import BLANK, number_of, percent, points, signed
from ..table_text import Table, cell_names, change_text, seeds_text


def forgetting(evidence: Evidence, catalog: dict, *, k: int | None = None) -> Table:
    """Set the loss on texts and the accuracy on other tasks before adaptation beside those after
    it, of every cell that trains; of `k` shots alone if given."""
    numbers = _in_order(evidence.forgetting, catalog, k)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    numbers = _with_planned(numbers, evidence.metrics)
    rows = [_printed(row, catalog) for row in numbers.to_dict("records")]
    return Table(numbers, pd.DataFrame(rows), _note(numbers, catalog))


def _in_order(frame: pd.DataFrame, catalog: dict, k: int | None) -> pd.DataFrame:
    frame = frame if k is None else frame[frame["k"] == k]
    if frame.empty:
        return frame
    rank = {each: number for number, each in enumerate(sources_in_order(frame, catalog))}
    places = frame[ASKED].itertuples(index=False, name=None)
    frame = frame.assign(place=[rank[each] for each in places]).sort_values("place", kind="stable")
    return ordered(frame.drop(columns="place"), catalog, ORDER)


def _with_planned(numbers: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return changes with how many seeds of the cell are planned."""
    planned = seed_counts(metrics)[[*CELL, "seeds_planned"]]
    numbers = numbers.merge(planned, on=CELL, how="left")
    # Of a cell without metrics nothing else is known.
    return numbers.assign(
        seeds_planned=numbers["seeds_planned"].fillna(numbers["seeds"]).astype(int)
    )


def _printed(row: Mapping, catalog: dict) -> dict[str, str]:
    before, after, change = numbers_text(row)
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        "Measured on": source_title(catalog, row["source"], row["shots"]),
        "Before": before,
        "After": after,
        "Change": change,
        "Seeds": seeds_text(row),
    }


def numbers_text(row: Mapping) -> tuple[str, str, str]:
    """Return before, after and change with its interval: nats of a text, percent and points of a
    task; blanks where there is none."""
    if pd.isna(row["change"]):
        return BLANK, BLANK, BLANK
    if row["kind"] == TEXT:
        change, low, high = (signed(row[name], 3) for name in ("change", "low", "high"))
        bounds = "" if low == BLANK else f" [{low}, {high}]"
        return f"{row['before']:.3f}", f"{row['after']:.3f}", change + bounds
    change = change_text(row, "change", "low", "high")
    return percent(row["before"]), percent(row["after"]), change


def _note(numbers: pd.DataFrame, catalog: dict) -> str:
    note = (
        "Texts: mean loss in nats per token; tasks: accuracy in percent, change in points; "
        "[95 % interval for other draws and documents like these]. In-context learning changes no "
        "weights: all of its changes are zero by definition, and none is measured."
    )
    if (numbers["seeds"] == 1).any():
        note += " With one seed the interval is for other documents alone, not for other draws."
    patterns = catalog["forgetting"]["patterns"]
    if len(catalog["patterns"]) > 1 and patterns:
        told = ", ".join(f"{catalog['forgetting']['tasks'][n]}: {p}" for n, p in patterns.items())
        note += f" Other tasks are asked with a fixed pattern ({told})."
    heads = [
        name for name, entry in catalog["methods"].items() if entry["head"] != "language-model"
    ]
    if ((numbers["kind"] != TEXT) & numbers["method"].isin(heads)).any():
        note += " A classification head has no answer to another task."
    left = numbers[(numbers["unfit"] > 0) & ~numbers["method"].isin(heads)]
    if len(left):
        note += (
            f" In {number_of(len(left), 'line')} documents or rows ({left['unfit'].sum()} in all) "
            "did not fit the window and are left out, before and after."
        )
    return note


def forgetting_lines(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Say in one paragraph what adaptation changes outside its task, at the main k; nothing
    where nothing was measured."""
    known = frame[(frame["k"] == catalog["main"]["k"]) & frame["change"].notna()]
    if known.empty:
        return []
    said = [
        _sentence(part, source_title(catalog, each[0], each[2]), catalog)
        for each in sources_in_order(known, catalog)
        for part in [known[(known[ASKED] == list(each)).all(axis=1)]]
    ]
    start = (
        f"Outside the task, {catalog['main']['k']} shots, after minus before adaptation "
        "(in-context learning changes no weights: zero by definition):"
    )
    return [f"{start} {'; '.join(said)}."]


def _sentence(part: pd.DataFrame, title: str, catalog: dict) -> str:
    """Say how far a measure moves, in the mean over tasks and models: by the median method, and by
    which least and most."""
    is_text = part["kind"].iloc[0] == TEXT
    means = worse(part).groupby(["method", "pattern"], sort=False)["lost"].mean()

    def told(value: float) -> str:
        # `lost` counts upwards what got worse, the text as it was measured.
        return signed(value, 2) if is_text else points(-value / 100)

    what = "loss on" if is_text else "accuracy on"
    unit = "nats per token" if is_text else "points"
    if len(means) == 1:
        (method,) = means.index
        return f"{what} {title} {told(means.iloc[0])} {unit} ({arm_title(catalog, *method)})"
    least, most = means.idxmin(), means.idxmax()
    return (
        f"{what} {title} {told(means.median())} {unit} in the median, from "
        f"{told(means.min())} ({arm_title(catalog, *least)}) to {told(means.max())} "
        f"({arm_title(catalog, *most)})"
    )
