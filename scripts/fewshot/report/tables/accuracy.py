"""Accuracies as tables: what was reached, at which checkpoint, and on which part of a set."""

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.summary import at_level, summarise, with_absent
from ...analysis.titles import (
    OWN_METRICS,
    SELECTIONS,
    arms,
    is_trained,
    label_title,
    ordered,
    set_title,
    titles,
)
from ...data import halves
from ...errors import unknown
from ...formatting import BLANK, counted, percent
from .. import select
from ..table_text import Table, cell_names, cell_text, claims_note
from .comparisons import self_chosen

SAMPLED = "An epoch that was not kept is counted over the curve's sample"
TESTED = (
    "Where the choice half of the in-domain rows chose the epoch, every method is judged in domain "
    "by the test half alone"
)
"""Why accuracies rest on fewer rows than a set has."""


def headline(evidence: Evidence, catalog: dict) -> Table:
    """Compare the methods at the study's main k and selection, in and out of domain."""
    metrics, selection = evidence.metrics, catalog["main"]["selection"]
    numbers = _cells(select.main_rows(metrics, catalog), catalog)
    text = _wide(numbers, catalog, ["Model", "Method"])
    warnings = [
        self_chosen("in", selection, "the comparison uses the last epoch"),
        self_chosen("out", selection),
    ]
    said = [f"{select.main_setting(catalog)}.", claims_note(numbers), *warnings]
    note = " ".join(filter(None, said))
    note += _rows_note(numbers, metrics, catalog)
    return Table(numbers, text, note if len(numbers) else "")


def accuracy(evidence: Evidence, catalog: dict) -> Table:
    """List the accuracy of every cell at every checkpoint."""
    metrics = evidence.metrics
    judged = metrics["selection"].isin(["last", halves.SELECTION])
    once = ~_is_trained(metrics, catalog) & ~judged
    numbers = _cells(metrics[(metrics["selection"] != "each") & ~once], catalog)
    text = _wide(numbers, catalog, ["Model", "Method", "Shots", "Checkpoint"])
    note = f"{claims_note(numbers)}{_rows_note(numbers, metrics, catalog)}"
    return Table(numbers, text, note.strip())


def model_selection(evidence: Evidence, catalog: dict) -> Table:
    """Compare the checkpoints of every fine-tuned cell at the main k, in and out of domain."""
    metrics = at_level(evidence.metrics)
    chosen = metrics[(metrics["k"] == catalog["main"]["k"]) & (metrics["selection"] != "each")]
    chosen = chosen[_is_trained(chosen, catalog)]
    numbers = _cells(chosen, catalog)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    keys = [*CELL, "selection", "evaluation_set"]
    done = chosen[chosen["status"] == "ok"].groupby(keys, sort=False)["epoch"]
    span = done.agg(epoch="mean", epoch_first="min", epoch_last="max").reset_index()
    numbers = numbers.merge(span, on=keys, how="left")
    text = _wide(numbers, catalog, ["Model", "Method", "Checkpoint"])
    cells = numbers.groupby([*CELL, "selection"], sort=False)
    text.insert(text.columns.get_loc("Checkpoint") + 1, "Epoch", [_epochs(c) for _, c in cells])
    said = filter(None, [f"{catalog['main']['k']} shots.", claims_note(numbers)])
    return Table(numbers, text, " ".join(said) + _rows_note(numbers, metrics, catalog))


def _is_trained(metrics: pd.DataFrame, catalog: dict) -> pd.Series:
    return metrics["method"].map(lambda name: is_trained(catalog, name)).astype(bool)


def _epochs(part: pd.DataFrame) -> str:
    """Return the mean epoch that was chosen, and its range over seeds where it varies."""
    first = part.iloc[0]
    if pd.isna(first["epoch"]):
        return BLANK
    span = f"{first['epoch_first']:.0f}–{first['epoch_last']:.0f}"
    same = first["epoch_first"] == first["epoch_last"]
    return f"{first['epoch']:.0f}" if same else f"{first['epoch']:.1f} [{span}]"


def _rows_note(numbers: pd.DataFrame, metrics: pd.DataFrame, catalog: dict) -> str:
    """Return sentences on the accuracies that rest on some of a set's rows, or nothing."""
    sizes = metrics.groupby(["task", "evaluation_set"])["n"].max() if len(numbers) else {}
    found: dict[str, dict[str, None]] = {SAMPLED: {}, TESTED: {}}
    for row in numbers[numbers["seeds"] > 0].to_dict("records"):
        total = sizes[row["task"], row["evaluation_set"]]
        if row["rows_fewest"] < total:
            tested = row["selection"] == halves.SELECTION and row["domain"] == "in"
            counts = f"{row['rows_fewest']:,} of {total:,} rows"
            where = f"{set_title(catalog, row['evaluation_set'])} {counts}"
            found[TESTED if tested else SAMPLED][where] = None
    return "".join(f" {why}: {', '.join(which)}." for why, which in found.items() if which)


def _cells(metrics: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the overall summary of the cells, in order, by `score`.

    "accuracy" is that of all tasks; one whose own metric is another has rows of that score, too.
    """
    overall = at_level(metrics)
    of_task = overall["task"].map(lambda name: catalog["tasks"].get(name, {}).get("metric"))
    frames = [summarise(overall).assign(score="accuracy")]
    for metric, (name, _) in OWN_METRICS.items():
        if (of_task == metric).any():
            frames.append(summarise(overall[of_task == metric], value=name).assign(score=name))
    frame = pd.concat(frames, ignore_index=True)
    return ordered(frame, catalog, ["task", "model", "method", "pattern", "k", "selection"])


def _wide(numbers: pd.DataFrame, catalog: dict, heads: list[str]) -> pd.DataFrame:
    """Return one printed row per cell, named by the columns `heads`, its evaluation sets side by
    side, a section per task."""
    outside = numbers[numbers["domain"] == "out"]
    most = outside.groupby("task")["evaluation_set"].nunique().max() if len(outside) else 0
    section = {task: _section(part, catalog) for task, part in numbers.groupby("task", sort=False)}
    cells: dict[tuple, list[dict]] = {}
    for item in numbers.to_dict("records"):
        cells.setdefault(tuple(item[name] for name in [*CELL, "selection"]), []).append(item)
    rows = []
    for part in cells.values():
        row = {"section": section[part[0]["task"]]}
        named = cell_names(part[0], catalog) | {"Checkpoint": _checkpoint(part[0], catalog)}
        row |= {title: named[title] for title in heads}
        for item in part:
            inside = item["domain"] == "in"
            name = "In domain" if inside else set_title(catalog, item["evaluation_set"])
            name = "Out of domain" if most == 1 and not inside else name
            row[name + _score_title(item)] = _score_text(item)
        rows.append(row | {"Seeds": _seeds(part)})
    frame = pd.DataFrame(rows).fillna(BLANK)
    return frame[[name for name in frame if name != "Seeds"] + ["Seeds"]] if rows else frame


def _score_title(item: dict) -> str:
    """Return what follows the name of a set in the heading of a score: nothing for accuracy."""
    return "".join(f", {title}" for name, title in OWN_METRICS.values() if name == item["score"])


def _score_text(item: dict) -> str:
    """Return the printed score; why there is none stands in the column of accuracies."""
    return BLANK if item["score"] != "accuracy" and item["seeds"] == 0 else cell_text(item)


def _checkpoint(row: dict, catalog: dict) -> str:
    """Return the checkpoint of a trained method, and of another one which rows judge it."""
    if is_trained(catalog, row["method"]):
        return SELECTIONS[row["selection"]]
    return "test half" if row["selection"] == halves.SELECTION else BLANK


def _seeds(part: list[dict]) -> str:
    fewest = min(item["seeds"] for item in part)
    return counted(fewest, max(item["seeds_planned"] for item in part))


def _section(numbers: pd.DataFrame, catalog: dict) -> str:
    """Return a task's heading: its evaluation sets with their rows and majority baselines."""
    sets = []
    for name, part in numbers.groupby("evaluation_set", sort=False):
        where = "in domain" if (part["domain"] == "in").any() else set_title(catalog, name)
        rows = f"{part['rows'].max():,} rows, " if part["rows"].max() else ""
        sets.append(f"{where}: {rows}majority {percent(part['majority'].max())}")
    return f"{set_title(catalog, numbers['task'].iloc[0])} ({'; '.join(sets)})"


def hans(evidence: Evidence, catalog: dict, *, level: str = "subset") -> Table:
    """Break the main cells down by `level` ('group' or 'subset') and gold label, out of domain."""
    metrics = evidence.metrics
    chosen = select.main_rows(metrics[metrics["domain"] == "out"], catalog)
    levels = {"group": ["group"], "subset": ["group", "subset"]}
    if level not in levels:
        raise unknown("level", level, levels, "figures.yaml: options")
    by = levels[level]
    parts = at_level(chosen, level, "label")
    parts = with_absent(parts, at_level(chosen), ["group", "subset", "label"])
    numbers = summarise(parts, [*by, "label"])
    numbers = ordered(numbers, catalog, ["task", "model", "evaluation_set", "label", *by, "method"])
    shown = arms(catalog, numbers)
    keys = ["task", "model", "evaluation_set", "label", *by]
    # Sets may have subsets without groups: where none has any, that column is left out.
    named, rows = [name for name in by if numbers[name].notna().any()], []
    for key, part in numbers.groupby(keys, sort=False, dropna=False):
        item = dict(zip(keys, key, strict=True))
        names = [titles(catalog, "models")[item["model"]], set_title(catalog, item["task"])]
        row = {"section": f"{names[0]}, trained or prompted on {names[1]}"}
        row["Gold label"] = label_title(catalog, item["evaluation_set"], item["label"])
        row |= {
            name.capitalize(): BLANK if pd.isna(item[name]) else item[name].replace("_", " ")
            for name in named
        }
        row |= {title: BLANK for title in shown.values()}
        for cell in part.to_dict("records"):
            row[shown[cell["method"], cell["pattern"]]] = cell_text(cell)
        rows.append(row)
    return Table(numbers, pd.DataFrame(rows), claims_note(numbers))
