"""How much results vary over patterns, draws and rows, as tables."""

import numpy as np
import pandas as pd

from ...analysis import stats
from ...analysis.evidence import Evidence
from ...analysis.summary import at_level
from ...analysis.titles import SELECTIONS, ordered, set_title, titles
from ...formatting import BLANK, counted, percent
from ...rng import generator
from ..table_text import Table, seeds_text

KEYS = ["task", "model", "method", "k", "evaluation_set", "domain"]
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
}


def patterns_summary(evidence: Evidence, catalog: dict) -> Table:
    """Summarise the cells that were run with several patterns, as T-Few does and otherwise.

    Only seeds that all patterns have are used. The median over patterns is of their means over
    seeds; the median over draws is of each draw's median over patterns (Liu et al. 2022).
    """
    main, runs = catalog["main"], at_level(evidence.metrics)
    runs = runs[(runs["k"] == main["k"]) & (runs["selection"] == main["selection"])]
    rows = []
    for key, part in runs.groupby(KEYS, sort=False):
        if part["pattern"].nunique() > 1:
            cell = dict(zip(KEYS, key, strict=True)) | {"selection": main["selection"]}
            rows.append(cell | _summary(part, catalog, "/".join(map(str, key))))
    numbers = pd.DataFrame(rows, columns=COLUMNS)
    numbers = ordered(numbers, catalog, ["task", "domain", "evaluation_set", "method", "model"])
    text = [_summary_row(row, catalog) for row in numbers.to_dict("records")]
    return Table(numbers, pd.DataFrame(text), _summary_note(catalog) if text else "")


def _summary(part: pd.DataFrame, catalog: dict, name: str) -> dict:
    """Return the summaries of one cell over [patterns, seeds] that are complete."""
    grid = part.pivot_table(index="pattern", columns="seed", values="accuracy", dropna=False)
    grid = grid.reindex([p for p in catalog["patterns"] if p in set(part["pattern"])])
    values = grid.dropna(axis=1).to_numpy(float)
    found = {
        "patterns": len(grid),
        "seeds": values.shape[1],
        "seeds_planned": part["seed"].nunique(),
        "rows": int(part["n"].max()),
    }
    if not values.size:
        return found
    over_patterns = stats.median_iqr(values.mean(axis=1))
    over_draws = stats.median_iqr(np.median(values, axis=0))
    middle = stats.interquartile_mean_interval(values.T, generator("interquartile", name))
    found |= _quartiles("pattern", over_patterns) | _quartiles("draw", over_draws)
    found |= {
        "interquartile_mean": middle.mean,
        "interquartile_low": middle.low,
        "interquartile_high": middle.high,
    }
    return found | {"spread": stats.prompt_sensitivity(values).spread}


def _quartiles(name: str, spread: stats.Spread) -> dict:
    return {
        f"{name}_median": float(spread.median),
        f"{name}_low": float(spread.low),
        f"{name}_high": float(spread.high),
    }


def _summary_row(row: dict, catalog: dict) -> dict:
    return {
        "section": _section(row, catalog),
        "Method": titles(catalog, "methods")[row["method"]],
        "Model": titles(catalog, "models")[row["model"]],
        "Median over patterns [IQR]": _range(row, "pattern_median", "pattern"),
        "Median over draws [IQR]": _range(row, "draw_median", "draw"),
        "Interquartile mean [95 %]": _range(row, "interquartile_mean", "interquartile"),
        "Spread of patterns": BLANK if pd.isna(row["spread"]) else f"{100 * row['spread']:.1f}",
        "Patterns": str(row["patterns"]),
        "Seeds": seeds_text(row),
    }


def _range(row: dict, middle: str, name: str) -> str:
    if pd.isna(row[middle]):
        return BLANK
    return f"{percent(row[middle])} [{percent(row[f'{name}_low'])}, {percent(row[f'{name}_high'])}]"


def _section(row: dict, catalog: dict) -> str:
    where = "in domain" if row["domain"] == "in" else set_title(catalog, row["evaluation_set"])
    return f"{set_title(catalog, row['task'])}: {where} ({row['rows']:,} rows)"


def _summary_note(catalog: dict) -> str:
    main = catalog["main"]
    return (
        f"Accuracy in percent; {main['k']} shots; checkpoint of fine-tuned models: "
        f"{SELECTIONS[main['selection']]}. IQR: quartiles over the patterns, or over the draws "
        "(each draw's median over patterns). The interquartile mean drops the best and the worst "
        "quarter of all runs; its interval is a bootstrap over draws. Spread: best less worst "
        "pattern of a draw, mean over draws, in points. Draws that some pattern lacks are left "
        "out and counted: “3/5”."
    )


def variance(evidence: Evidence, catalog: dict) -> Table:
    """Print the standard deviations into which the variance of a cell's accuracy splits."""
    main, frame = catalog["main"], evidence.variance
    chosen = frame[(frame["k"] == main["k"]) & (frame["selection"] == main["selection"])]
    by = ["task", "domain", "evaluation_set", "method", "model"]
    numbers = ordered(chosen.reset_index(drop=True), catalog, by)
    text = []
    for row in numbers.to_dict("records"):
        shown = {
            title: BLANK if pd.isna(row[name]) else f"{100 * np.sqrt(max(row[name], 0.0)):.1f}"
            for name, title in PARTS.items()
        }
        spread = BLANK if pd.isna(row["spread"]) else f"{100 * row['spread']:.1f}"
        text.append(
            {
                "section": _section(row, catalog),
                "Method": titles(catalog, "methods")[row["method"]],
                "Model": titles(catalog, "models")[row["model"]],
                "Mean": row["status"] if pd.isna(row["mean"]) else percent(row["mean"]),
                **shown,
                "Spread of patterns": spread,
                "Patterns used": counted(row["patterns"], row["patterns_planned"]),
                "Seeds": seeds_text(row),
            }
        )
    return Table(numbers, pd.DataFrame(text), _variance_note(catalog) if text else "")


def _variance_note(catalog: dict) -> str:
    main = catalog["main"]
    return (
        f"Mean accuracy in percent; {main['k']} shots; checkpoint of fine-tuned models: "
        f"{SELECTIONS[main['selection']]}. The rest are standard deviations, in points, of one "
        "answer (right is 100, wrong 0): between draws, patterns and rows, of each two together, "
        "and what is left. “–”: cannot be told from so few. A mean over n draws moves by about "
        "the draws' deviation divided by √n."
    )
