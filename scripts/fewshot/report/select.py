"""Which results a figure shows, and the models of a family as steps of size."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import pandas as pd

from ..analysis.pairs import ACROSS_PATTERNS, MATRIX
from ..analysis.summary import at_level
from ..analysis.titles import SELECTIONS, arm_title, model_order, set_title, titles
from ..errors import UserError, unknown
from ..study.figure_needs import any_called, check_arms, in_arms

WHERE = "figures.yaml: options"
SIDES = ("method", "pattern", "reference_method", "reference_pattern")
"""What sets two sides of a comparison against each other."""
MOST_ARMS = 5
"""Methods × patterns of a task that one figure shows."""
CHOICES = tuple(name for name in SELECTIONS if name != "each")


def select_rows(
    metrics: pd.DataFrame, catalog: dict, *, level: tuple[str, ...] = (), task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return the rows of one breakdown `level` that fit every option given, whatever their status.

    In `task` and `evaluation_set` * stands for anything; with the latter, the in-domain rows of its
    tasks stay. `arms` is as in `figure_needs.in_arms`.
    Raises UserError for a value that the study does not know.
    """
    check_options(metrics, catalog, task, evaluation_set, family, k, selection, arms)
    rows = fitting(at_level(metrics, *level), catalog, task, evaluation_set, family)
    if k is not None:
        rows = rows[rows["k"] == k]
    if selection is not None:
        rows = rows[rows["selection"] == selection]
    return of_arms(rows, catalog, arms)


def fitting(
    rows: pd.DataFrame,
    catalog: dict,
    task: str | None = None,
    evaluation_set: str | None = None,
    family: str | None = None,
) -> pd.DataFrame:
    """Return the rows that fit the options given, as `select_rows` has them."""
    if task is not None:
        rows = rows[called(rows["task"], task)]
    if evaluation_set is not None:
        wanted = called(rows["evaluation_set"], evaluation_set)
        inside = rows["domain"].isin(["in", "train"]) & rows["task"].isin(rows.loc[wanted, "task"])
        rows = rows[wanted | inside]
    if family is not None:
        rows = rows[rows["model"].isin(members_of(catalog, family))]
    return rows


def called(names: pd.Series, wanted: str) -> pd.Series:
    """Return which names are `wanted`, in which * stands for anything."""
    known = {name: fnmatchcase(name, wanted) for name in names.unique()}
    return names.map(known).astype(bool)


def of_arms(
    rows: pd.DataFrame, catalog: dict, arms: list[str] | None, side: str = ""
) -> pd.DataFrame:
    """Return the rows whose method and pattern one of `arms` picks; all without any.

    `side` is what the names of both columns begin with.
    """
    if arms is None or rows.empty:
        return rows
    columns = [f"{side}method", f"{side}pattern"]
    pairs = rows[columns].drop_duplicates()
    kept = {
        pair
        for pair in pairs.itertuples(index=False, name=None)
        if in_arms(arms, catalog["methods"], *pair)
    }
    keys = zip(*(rows[name] for name in columns), strict=True)
    return rows[[key in kept for key in keys]]


def fewer_arms(frame: pd.DataFrame, catalog: dict, pattern: str | None) -> pd.DataFrame:
    """Return the rows with one pattern of each task that has more than five methods × patterns.

    That is `pattern` if given, else the first of the study's that the task has.
    """
    if pattern is not None:
        return frame[frame["pattern"] == pattern]
    dropped = pd.Series(False, index=frame.index)
    for task, rows in frame.groupby("task", sort=False):
        if len(rows[["method", "pattern"]].drop_duplicates()) > MOST_ARMS:
            first = next(name for name in catalog["patterns"] if name in set(rows["pattern"]))
            dropped |= (frame["task"] == task) & (frame["pattern"] != first)
    return frame[~dropped]


def one_matrix(
    pairs: pd.DataFrame, catalog: dict, task: str | None = None, evaluation_set: str | None = None,
    family: str | None = None, arms: list[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return the comparisons of all sizes with all sizes that fit the options (`select_rows`).

    Of `arms` one is fine-tuned and one in context; without any, both have the same pattern. What
    still differs in SIDES is left to `first_of`.
    """
    pairs = pairs[pairs["family"].isin([MATRIX] if arms is None else [MATRIX, ACROSS_PATTERNS])]
    if evaluation_set is not None:
        pairs = pairs[called(pairs["evaluation_set"], evaluation_set)]
    pairs = fitting(pairs, catalog, task, family=family)
    return of_arms(of_arms(pairs, catalog, arms), catalog, arms, "reference_")


def first_of(pairs: pd.DataFrame, catalog: dict, *columns: str) -> pd.DataFrame:
    """Return the rows with the first name there is in each of `columns`, one after the other."""
    for column in columns:
        kind = column.removeprefix("reference_").replace("evaluation_set", "task") + "s"
        present = set(pairs[column])
        first = next((name for name in catalog[kind] if name in present), None)
        pairs = pairs[pairs[column] == first]
    return pairs


def members_of(catalog: dict, family: str) -> list[str]:
    """Return the models of a family."""
    return [name for name, entry in catalog["models"].items() if entry["family"] == family]


def main_rows(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the rows at the study's main k and selection."""
    main = catalog["main"]
    return frame[(frame["k"] == main["k"]) & (frame["selection"] == main["selection"])]


def main_setting(catalog: dict) -> str:
    """Return the study's main k and selection in words."""
    main = catalog["main"]
    return f"{main['k']} shots; checkpoint of fine-tuned models: {SELECTIONS[main['selection']]}"


def main_k(catalog: dict, k: int | None) -> int:
    """Return the number of shots to show: as given, or the study's main one."""
    return catalog["main"]["k"] if k is None else k


def main_selection(catalog: dict, selection: str | None) -> str:
    """Return the checkpoint to show: as given, or the study's main one."""
    return catalog["main"]["selection"] if selection is None else selection


def check_options(
    metrics: pd.DataFrame, catalog: dict, task: str | None = None,
    evaluation_set: str | None = None, family: str | None = None, k: int | None = None,
    selection: str | None = None, arms: list[str] | None = None, *, pattern: str | None = None,
    tasks: list[str] | None = None, predictions: float | None = None,
) -> None:  # fmt: skip
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
    present = set(metrics["task"].unique())
    adapted = [name for name in catalog["tasks"] if name in present]
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


def named(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the frame with the titles of each row's method and pattern (`arm`) and model
    (`size`)."""
    return arm_named(frame, catalog).assign(size=frame["model"].map(titles(catalog, "models")))


def arm_named(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the frame with the title of each row's method and pattern (`arm`)."""
    pairs = zip(frame["method"], frame["pattern"], strict=True)
    return frame.assign(arm=[arm_title(catalog, *pair) for pair in pairs])


def in_percent(
    frame: pd.DataFrame, names: Iterable[str] = ("mean", "low", "high", "majority")
) -> pd.DataFrame:
    """Return the frame with shares as percentages."""
    return frame.assign(**{name: 100 * frame[name].astype(float) for name in names})


def singled(rows: pd.DataFrame, catalog: dict) -> tuple[dict, dict[str, str]]:
    """Return the catalog with which figures of `rows` name arms, and what all rows share.

    That is of model, method and prompt ("Model", "Method", "Prompt") the title, where there is only
    one. With one pattern alone in the catalog no arm's title names it.
    """
    shared = {}
    for column, what in (("model", "Model"), ("method", "Method"), ("pattern", "Prompt")):
        present = set(rows[column]) if column in rows else set()
        if len(present) == 1:
            [name] = present
            shared[what] = titles(catalog, f"{column}s")[name]
            if column == "pattern":
                catalog = {**catalog, "patterns": {name: catalog["patterns"][name]}}
    return catalog, shared


def both_sides(pairs: pd.DataFrame, other: str = "reference_") -> pd.DataFrame:
    """Return model, method and pattern of both sides of comparisons of the same model, one below
    the other; `other` is what the names of the second side's columns begin with."""
    names = ["method", "pattern"]
    one, two = pairs[["model", *names]], pairs[["model", *(f"{other}{name}" for name in names)]]
    return pd.concat([one, two.set_axis(one.columns, axis=1)], ignore_index=True)


def family_titles(catalog: dict) -> dict[str, str]:
    """Return family -> title: what the titles of its models share; where they begin differently,
    the first beginning with the family's name, else this name."""
    found: dict[str, str] = {}
    for family, members in _members(catalog).items():
        heads = list(dict.fromkeys(head for head, tail in members.values() if tail))
        own = [head for head in heads if head.lower().startswith(family)]
        found[family] = heads[0] if len(heads) == 1 else own[0] if own else family
    return found


def short_titles(catalog: dict) -> dict[str, str]:
    """Return model -> the last part of its title ("125M" of "OPT-125M").

    That is the whole title where the rest is not the family's (`family_titles`): "GPT-NeoX-20B".
    """
    whole, families, found = titles(catalog, "models"), family_titles(catalog), {}
    for family, members in _members(catalog).items():
        for name, (head, tail) in members.items():
            found[name] = tail if tail and head == families[family] else whole[name]
    return found


def _members(catalog: dict) -> dict[str, dict[str, tuple[str, str]]]:
    """Return family -> model -> its title in two parts, cut at the last blank or hyphen."""
    whole, found = titles(catalog, "models"), {}
    for name in model_order(catalog):
        head, _, tail = re.sub(r"[\s-]+(?=[^\s-]+$)", "\0", whole[name]).partition("\0")
        found.setdefault(catalog["models"][name]["family"], {})[name] = (head, tail)
    return found


def with_sizes(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the frame with `family`, `size` (short title) and `title` of each row's model."""
    family = {name: entry["family"] for name, entry in catalog["models"].items()}
    return frame.assign(
        family=frame["model"].map(family),
        size=frame["model"].map(short_titles(catalog)),
        title=frame["model"].map(titles(catalog, "models")),
    )


def sizes_of(frame: pd.DataFrame, catalog: dict, family: str) -> list[str]:
    """Return the short titles of a family's models that occur in `frame`, smallest first."""
    present, short = set(frame["model"]), short_titles(catalog)
    members = (name for name in model_order(catalog) if name in present)
    return [short[name] for name in members if catalog["models"][name]["family"] == family]


def family_order(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Return the families that occur in `frame`, in the order of the registry."""
    present = set(frame["model"])
    order = (catalog["models"][name]["family"] for name in model_order(catalog) if name in present)
    return list(dict.fromkeys(order))


def largest_by_family(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Return the largest model of each family of those that occur in `frame`."""
    present = [name for name in model_order(catalog) if name in set(frame["model"])]
    return list({catalog["models"][name]["family"]: name for name in present}.values())


def set_heading(catalog: dict, task: str, evaluation_set: str, domain: str) -> list[str]:
    """Return the lines of an axis title that say on what accuracy (percent) is measured."""
    if domain == "in":
        return [f"{set_title(catalog, task)} (%)", "in domain"]
    return [f"{set_title(catalog, task)} →", f"{set_title(catalog, evaluation_set)} (%)"]


def headed(frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the frame with `heading`, the tuple of lines of `set_heading`, and `where`, the same
    in one line without the unit."""
    places = zip(frame["task"], frame["evaluation_set"], frame["domain"], strict=True)
    headings = [tuple(set_heading(catalog, *place)) for place in places]
    where = [" ".join(lines).replace(" (%)", "") for lines in headings]
    return frame.assign(heading=headings, where=where)


def titles_by_size(frame: pd.DataFrame, catalog: dict) -> dict[str, dict[str, str]]:
    """Return family -> size -> title of the models that occur in `frame`, all in order."""
    whole, short, present = titles(catalog, "models"), short_titles(catalog), set(frame["model"])
    found: dict[str, dict[str, str]] = {}
    for name in (name for name in model_order(catalog) if name in present):
        family = catalog["models"][name]["family"]
        found.setdefault(family, {})[short[name]] = whole[name]
    return found
