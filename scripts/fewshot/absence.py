"""What is not there, so that figures show it: seeds, cells that do not fit, missing results."""

import pandas as pd

from .catalog import arm_title, ordered, set_title, titles
from .summary import summarise

RUN = ["task", "model", "method", "pattern", "seed"]


def prepare(means: pd.DataFrame) -> pd.DataFrame:
    """Return a summary in percent with `state`: whole, some (seeds), unfit or missing."""
    means = means.copy()
    for name in ("mean", "low", "high", "majority"):
        means[name] = 100 * means[name].astype(float)
    state = means["status"].map({"ok": "whole", "does not fit": "unfit", "missing": "missing"})
    return means.assign(state=state.fillna("some"))


def lacking(chosen: pd.DataFrame, catalog: dict) -> list[str]:
    """Return a line that names the cells with fewer points than seeds, and why."""
    outside = chosen[chosen["domain"] == "out"].drop_duplicates([*RUN, "evaluation_set"])
    cells = prepare(summarise(outside))
    cells = cells[cells["state"] != "whole"]
    cells = cells.drop_duplicates(["task", "model", "method", "pattern"])
    models = titles(catalog, "models")
    named = [
        f"{set_title(catalog, cell.task)}, {models[cell.model]}, "
        f"{arm_title(catalog, cell.method, cell.pattern)}: {cell.status}"
        for cell in ordered(cells, catalog, ["task", "method", "pattern", "model"]).itertuples()
    ]
    more = f"; {len(named) - 4} more" if len(named) > 4 else ""
    return [f"Not all seeds: {'; '.join(named[:4])}{more}."] if named else []


def incomplete(means: pd.DataFrame, styles: dict) -> list[str]:
    """Return lines that explain hollow points and crosses, where there are any."""
    found, lines = set(means["state"]), []
    if "some" in found:
        cells = means[means["state"] == "some"].groupby(["title", "status"], sort=False)["group"]
        shown = []
        for (title, status), groups in cells:
            names = dict.fromkeys(groups)
            shown.append(f"{title}{'' if len(names) == len(styles) else ', ' + ', '.join(names)}")
            shown[-1] += f": {status}"
        named = "; ".join(shown[:3]) + (f"; {len(shown) - 3} more" if len(shown) > 3 else "")
        lines.append(f"Hollow: fewer seeds than planned ({named}).")
    if "unfit" in found:
        lines.append("×: the examples exceed the model's window (does not fit).")
    if "missing" in found:
        lines.append("–: no result yet (missing).")
    return lines
