"""How much results vary over patterns, draws and rows, as tables."""

import numpy as np
import pandas as pd

from ...analysis import stats
from ...analysis.evidence import Evidence
from ...analysis.summary import at_level
from ...analysis.titles import ordered, set_title, titles
from ...formatting import BLANK, counted, percent
from ...rng import generator
from .. import select
from ..table_text import Table, seeds_text

KEYS = ["task", "model", "method", "k", "evaluation_set", "domain"]
ORDER = ["task", "domain", "evaluation_set", "method", "model"]
COLUMNS = [
    *(*KEYS, "selection", "patterns", "seeds", "seeds_planned", "rows"),
    *("pattern_median", "pattern_low", "pattern_high", "draw_median", "draw_low", "draw_high"),
    *("interquartile_mean", "interquartile_low", "interquartile_high", "spread"),
]
PARTS = {
    "seed": "Draws",
    "pattern": "Patterns",
    "seed_pattern": "Draws × patterns",
    "row": "Rows",
    "seed_row": "Draws × rows",
    "pattern_row": "Patterns × rows",
    "residual": "Rest",
    "order": "Orders",
}


def patterns_summary(evidence: Evidence, catalog: dict) -> Table:
    """Summarise the cells that were run with several patterns, as T-Few does and otherwise.

    Only seeds that all patterns have are used. The median over patterns is of their means over
    seeds; the median over draws is of each draw's median over patterns (Liu et al. 2022).
    """
    runs = select.main_rows(at_level(evidence.metrics), catalog)
    rows = []
    for key, part in runs.groupby(KEYS, sort=False):
        if part["pattern"].nunique() > 1:
            cell = dict(zip(KEYS, key, strict=True)) | {"selection": catalog["main"]["selection"]}
            rows.append(cell | _summary(part, catalog, "/".join(map(str, key))))
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ordered(numbers, catalog, ORDER)
    text = [_summary_row(row, catalog) for row in numbers.to_dict("records")]
    return Table(numbers, pd.DataFrame(text), _summary_note(catalog) if text else "")


def _summary(part: pd.DataFrame, catalog: dict, name: str) -> dict:
    """Return the summaries of one cell over [patterns, seeds] that are complete."""
    grid = part.pivot_table(index="pattern", columns="seed", values="accuracy", dropna=False)
    grid = grid.reindex([p for p in catalog["patterns"] if p in set(part["pattern"])])
    values = grid.dropna(axis=1).to_numpy(float)
    counts = {
        "patterns": len(grid),
        "seeds": values.shape[1],
        "seeds_planned": part["seed"].nunique(),
        "rows": int(part["n"].max()),
    }
    if not values.size:
        return counts
    over_patterns = stats.median_iqr(values.mean(axis=1))
    over_draws = stats.median_iqr(np.median(values, axis=0))
    # All patterns have the same draws.
    middle = stats.interquartile_mean_interval(
        values.T, generator("interquartile", name), strata=[0] * len(values)
    )
    return {
        **counts,
        **_quartiles("pattern", over_patterns),
        **_quartiles("draw", over_draws),
        "interquartile_mean": middle.mean,
        "interquartile_low": middle.low,
        "interquartile_high": middle.high,
        "spread": stats.prompt_sensitivity(values).spread,
    }


def _quartiles(name: str, spread: stats.Spread) -> dict:
    return {
        f"{name}_median": float(spread.median),
        f"{name}_low": float(spread.low),
        f"{name}_high": float(spread.high),
    }


def _summary_row(row: dict, catalog: dict) -> dict:
    return {
        **_names(row, catalog),
        "Median over patterns [IQR]": _range(row, "pattern_median", "pattern"),
        "Median over draws [IQR]": _range(row, "draw_median", "draw"),
        "Interquartile mean [95 %]": _range(row, "interquartile_mean", "interquartile"),
        "Spread of patterns": percent(row["spread"]),
        "Patterns": str(row["patterns"]),
        "Seeds": seeds_text(row),
    }


def _range(row: dict, middle: str, name: str) -> str:
    if pd.isna(row[middle]):
        return BLANK
    return f"{percent(row[middle])} [{percent(row[f'{name}_low'])}, {percent(row[f'{name}_high'])}]"


def _names(row: dict, catalog: dict) -> dict:
    """Return the printed columns that name a cell."""
    where = "in domain" if row["domain"] == "in" else set_title(catalog, row["evaluation_set"])
    return {
        "section": f"{set_title(catalog, row['task'])}: {where} ({row['rows']:,} rows)",
        "Method": titles(catalog, "methods")[row["method"]],
        "Model": titles(catalog, "models")[row["model"]],
    }


def _summary_note(catalog: dict) -> str:
    return (
        f"Accuracy in percent; {select.main_setting(catalog)}. "
        "IQR: quartiles over the patterns, or over the draws (each draw's median over patterns). "
        "The interquartile mean drops the best and the worst quarter of all runs; its interval is "
        "for these rows (other draws: a bootstrap over them). Spread: best less worst pattern of a "
        "draw, mean over draws, in points. Draws that some pattern lacks are left out and counted: "
        "“3/5”."
    )


def variance(evidence: Evidence, catalog: dict) -> Table:
    """Print the standard deviations into which the variance of a cell's accuracy splits."""
    chosen = select.main_rows(evidence.variance, catalog)
    numbers = ordered(chosen.reset_index(drop=True), catalog, ORDER)
    several = numbers["order"].notna().any()
    parts = {name: title for name, title in PARTS.items() if several or name != "order"}
    text = [
        {
            **_names(row, catalog),
            "Mean": row["status"] if pd.isna(row["mean"]) else percent(row["mean"]),
            **{title: _deviation(row, name) for name, title in parts.items()},
            "Spread of patterns": percent(row["spread"]),
            "Patterns used": counted(row["patterns"], row["patterns_planned"]),
            "Seeds": seeds_text(row),
        }
        for row in numbers.to_dict("records")
    ]
    note = _variance_note(catalog) + (ORDERS if several else "")
    return Table(numbers, pd.DataFrame(text), note if text else "")


ORDERS = (
    " Orders: between orders of the same rows, where a study has some; “Draws” is then what draws "
    "differ in besides, and elsewhere holds both."
)


def _deviation(row: dict, name: str) -> str:
    """Return the standard deviation of a part of the variance with its interval, in points."""
    part, *bounds = (percent(np.sqrt(row[key])) for key in (name, f"{name}_low", f"{name}_high"))
    return part if BLANK in (part, *bounds) else f"{part} [{bounds[0]}, {bounds[1]}]"


def _variance_note(catalog: dict) -> str:
    return (
        f"Mean accuracy in percent; {select.main_setting(catalog)}. "
        "The rest are standard deviations, in points, of one answer (right is 100, wrong 0): "
        "between draws, patterns and rows, of each two together, and what is left, with 95 % "
        "intervals: by the modified large-sample method of Ting et al. (1990), and where rows are "
        "part of it by a jackknife over draws and rows. “–”: cannot be told from so few. A mean "
        "over n draws moves by about the draws' deviation divided by √n."
    )
