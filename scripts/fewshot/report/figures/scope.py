"""Which results a figure shows: options checked against the study, rows chosen by them."""

from fnmatch import fnmatchcase

import pandas as pd

from ...analysis.catalog import SELECTIONS
from ...analysis.summary import at_level
from ...errors import UserError, unknown
from ...study.needs import any_called, check_arms, in_arms

WHERE = "figures.yaml: options"
CHOICES = tuple(name for name in SELECTIONS if name != "each")


def choose(
    metrics: pd.DataFrame,
    catalog: dict,
    *,
    level: tuple[str, ...] = (),
    task: str | None = None,
    evaluation_set: str | None = None,
    family: str | None = None,
    k: int | None = None,
    selection: str | None = None,
    arms: list[str] | None = None,
) -> pd.DataFrame:
    """Return the rows of one breakdown `level` that fit every option given, whatever their status.

    In `task` and `evaluation_set` * stands for anything; with the latter, the in-domain rows of its
    tasks stay. `arms` is as in `needs.in_arms`.
    Raises UserError for a value that the study does not know.
    """
    check(metrics, catalog, task, evaluation_set, family, k, selection, arms)
    rows = at_level(metrics, *level)
    if task is not None:
        rows = rows[called(rows["task"], task)]
    if evaluation_set is not None:
        wanted = called(rows["evaluation_set"], evaluation_set)
        inside = rows["domain"].isin(["in", "train"]) & rows["task"].isin(rows.loc[wanted, "task"])
        rows = rows[wanted | inside]
    if family is not None:
        members = [name for name, each in catalog["models"].items() if each["family"] == family]
        rows = rows[rows["model"].isin(members)]
    if k is not None:
        rows = rows[rows["k"] == k]
    if selection is not None:
        rows = rows[rows["selection"] == selection]
    return of_arms(rows, catalog, arms)


def called(names: pd.Series, wanted: str) -> pd.Series:
    """Return which names are `wanted`, in which * stands for anything."""
    known = {name: fnmatchcase(name, wanted) for name in names.unique()}
    return names.map(known).astype(bool)


def of_arms(rows: pd.DataFrame, catalog: dict, arms: list[str] | None) -> pd.DataFrame:
    """Return the rows whose method and pattern one of `arms` picks; all without any."""
    if arms is None or rows.empty:
        return rows
    pairs = rows[["method", "pattern"]].drop_duplicates()
    kept = {
        pair
        for pair in pairs.itertuples(index=False, name=None)
        if in_arms(arms, catalog["methods"], *pair)
    }
    keys = zip(rows["method"], rows["pattern"], strict=True)
    return rows[[key in kept for key in keys]]


def main_k(catalog: dict, k: int | None) -> int:
    """Return the number of shots to show: as given, or the study's main one."""
    return catalog["main"]["k"] if k is None else k


def main_selection(catalog: dict, selection: str | None) -> str:
    """Return the checkpoint to show: as given, or the study's main one."""
    return catalog["main"]["selection"] if selection is None else selection


def check(
    metrics: pd.DataFrame,
    catalog: dict,
    task: str | None = None,
    evaluation_set: str | None = None,
    family: str | None = None,
    k: int | None = None,
    selection: str | None = None,
    arms: list[str] | None = None,
    *,
    pattern: str | None = None,
    tasks: list[str] | None = None,
    predictions: float | None = None,
) -> None:
    """Raise UserError, one line with the valid values, for an option that the study lacks.

    `pattern` and each of `tasks`, which are adapted to, are names, in which * is no wildcard.
    """
    families = dict.fromkeys(entry["family"] for entry in catalog["models"].values())
    for option, value, valid in (
        ("task", task, catalog["tasks"]),
        ("evaluation_set", evaluation_set, catalog["tasks"]),
        ("family", family, families),
        ("selection", selection, CHOICES),
    ):
        if value is not None and not any_called(valid, value):
            raise unknown(option.replace("_", " "), value, valid, f"{WHERE}.{option}")
    if pattern is not None and pattern not in catalog["patterns"]:
        raise unknown("pattern", pattern, catalog["patterns"], f"{WHERE}.pattern")
    adapted = [name for name in catalog["tasks"] if name in set(metrics["task"])]
    for name in tasks or ():
        if name not in (adapted or catalog["tasks"]):
            raise unknown("task", name, adapted or catalog["tasks"], f"{WHERE}.tasks")
    if predictions is not None and not (isinstance(predictions, int | float) and predictions > 0):
        raise UserError(f"{WHERE}.predictions: must be a number above 0, not {predictions!r}")
    check_arms(arms or (), catalog["methods"], f"{WHERE}.arms")
    planned = sorted(int(each) for each in metrics["k"].unique())
    if k is not None and planned and k not in planned:
        valid = ", ".join(map(str, planned))
        raise UserError(f"{WHERE}.k: no cell has {k} shots; valid: {valid}")
