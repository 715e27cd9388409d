"""Turn what `behaviour.py` counted into tables, and those into Markdown."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .. import formatting, storage
from ..analysis import stats
from ..data.synthetic import CONSTRUCTIONS, HANS_TEMPLATES
from ..report import table_text
from .behaviour import HANS, TASKS, hypothesis_only
from .recipes import RECIPES

ORDER = ["entailed", *CONSTRUCTIONS]
MAIN = "minimal"


def read(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Return the counts of all models, names as text: two columns of categories do not compare."""
    counts = pd.concat(map(storage.read_table, paths), ignore_index=True)
    return counts.astype(dict.fromkeys(counts.select_dtypes("category"), "str"))


def by_seed(counts: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the share of right rows of each seed (a column) for each group of `keys`."""
    sums = counts.groupby([*keys, "seed"])[["correct", "n"]].sum()
    return (sums["correct"] / sums["n"]).unstack("seed")


def only(counts: pd.DataFrame, **values) -> pd.DataFrame:
    """Return the rows that have these values."""
    for name, value in values.items():
        counts = counts[counts[name] == value]
    return counts


def _wide(counts: pd.DataFrame, rows: list[str], columns: list[str]) -> pd.DataFrame:
    """Return means over seeds, with rows and columns as given."""
    return by_seed(counts, [*rows, *columns]).mean(axis=1).unstack(columns)


def constructions(counts: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by construction in domain: models, methods and shots by construction."""
    shown = only(
        counts, evaluation_set="synth-mnli", task="synth-mnli", pattern=MAIN, flipped=False
    )
    return _wide(shown, ["model", "method", "k"], ["subset"])[ORDER]


def baseline(size: int = 1000) -> pd.DataFrame:
    """Return what the hypothesis alone gives away, by task and construction."""
    accuracy = {task: hypothesis_only(task, size)[ORDER] for task in TASKS}
    return pd.DataFrame(accuracy).T.rename_axis("task")


def subcases(counts: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy on HANS-like rows by subcase: the larger models, methods and shots."""
    shown = only(counts, evaluation_set=HANS)
    shown = shown[shown["model"].str.endswith("mini")]
    table = _wide(shown, ["subset"], ["model", "method", "k"])
    return table.loc[list(HANS_TEMPLATES)]


def heuristic(counts: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy on HANS-like rows by label, of lexical overlap and of all."""
    shown = only(counts, evaluation_set=HANS)
    label = shown["subset"].str[1].map({"e": "entailment", "n": "non-entailment"})
    parts = [
        shown[chosen].assign(rows=prefix + label[chosen])
        for prefix, chosen in (("overlap ", shown["subset"].str[0] == "l"), ("all ", label != ""))
    ]
    return _wide(pd.concat(parts), ["model", "method", "k"], ["rows"])


def shots(counts: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in context by the number of demonstrations, flipped label words too."""
    shown = only(counts, method="in-context", pattern=MAIN)
    shown = shown[shown["evaluation_set"] == shown["task"]]
    return _wide(shown, ["model", "task", "flipped"], ["k"])


def patterns(counts: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy with 16 demonstrations by pattern."""
    shown = only(counts, method="in-context", k=16, flipped=False)
    shown = shown[shown["evaluation_set"] == shown["task"]]
    return _wide(shown, ["model", "task"], ["pattern"])


def sizes(counts: pd.DataFrame) -> pd.DataFrame:
    """Return by how much the larger model of a family is better, with 95 % intervals over seeds."""
    shown = only(counts, pattern=MAIN, flipped=False)
    shown = shown[(shown["evaluation_set"] == shown["task"]) & (shown["k"] > 0)]
    shares = by_seed(shown, ["model", "task", "method", "k"])
    rows = []
    for family in sorted({name.split("-")[0] for name in RECIPES}):
        gain = shares.loc[f"{family}-mini"] - shares.loc[f"{family}-micro"]
        for key, values in gain.iterrows():
            interval = stats.mean_interval(values)
            rows.append((family, *key, interval.mean, interval.low, interval.high))
    names = ["family", "task", "method", "k", "gain", "low", "high"]
    return pd.DataFrame(rows, columns=names).set_index(names[:4])


PARTS = {
    "Accuracy by construction (synth-mnli)": constructions,
    "HANS-like rows by subcase": subcases,
    "HANS-like rows by label": heuristic,
    "In context, by number of demonstrations": shots,
    "In context, 16 demonstrations, by pattern": patterns,
    "The larger model's gain": sizes,
}


def page(counts: pd.DataFrame) -> str:
    """Return all tables in Markdown."""
    tables = {"The hypothesis alone (bag of words)": baseline()}
    tables |= {title: make(counts) for title, make in PARTS.items()}
    return "\n".join("#" + _markdown(table, title) for title, table in tables.items())


def _markdown(table: pd.DataFrame, title: str) -> str:
    """Return a table with shares to two places."""
    text = table.reset_index()
    text.columns = [
        " ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name)
        for name in text.columns
    ]
    for name in text.select_dtypes("float"):
        text[name] = [
            formatting.BLANK if pd.isna(value) else f"{value:.2f}" for value in text[name]
        ]
    return table_text.to_markdown(table_text.Table(table, text.astype(str)), title, "")
