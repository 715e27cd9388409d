"""What adaptation changes outside its task: after minus before, over draws and documents.

A text's loss is the mean over its tokens, so that a document counts as often as it has tokens. What
varies are the draws that were trained on and the documents, or rows, which are crossed.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from . import stats
from .evidence import Evidence, join
from .run_manifests import CELL
from .statistics_schemas import FORGETTING
from .summary import at_level, summarise
from .titles import is_baseline, is_trained

ARM = ["task", "model", "method", "pattern"]
"""What tells cells with the same number of shots apart."""
ASKED = ["source", "kind", "shots"]
"""What is measured of a model: of a text its loss, of a task its accuracy with so many shots."""
TEXT = "text"


def changes(before: Iterable[pd.DataFrame], after: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return a row (statistics_schemas.FORGETTING) for each trained cell and what was measured.

    `before` and `after` (schemas.FORGETTING) are those of all models and jobs. Of a task with shots
    only seeds that both have are compared, since another seed is another draw; else every seed with
    the one measure before. Documents and rows that are not known of every seed, before and after,
    are left out and counted.
    """
    before, after = (join(frames, []) for frames in (before, after))
    if before.empty or after.empty:
        return pd.DataFrame(columns=FORGETTING.names)
    start = {key: _values(rows) for key, rows in before.groupby(["model", *ASKED], sort=False)}
    found = []
    for key, rows in after.groupby([*CELL, *ASKED], sort=False):
        told = dict(zip([*CELL, *ASKED], key, strict=True))
        known = start.get((told["model"], *key[len(CELL) :]))
        if known is not None:
            found.append({**told, **_change(known, rows)})
    return pd.DataFrame(found, columns=FORGETTING.names)


def _values(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the loss or correctness [documents, seeds] by id and seed; nan where not known."""
    value = "loss" if rows["kind"].iloc[0] == TEXT else "correct"
    wide = rows.assign(value=rows[value].astype(object).map(_number))
    return wide.pivot(index="id", columns="seed", values="value").sort_index()


def _number(value: object) -> float:
    return np.nan if pd.isna(value) else float(value)


def _change(before: pd.DataFrame, rows: pd.DataFrame) -> dict[str, object]:
    """Return the numbers of one cell and measure, of its `rows` after and the values before."""
    is_text, after = rows["kind"].iloc[0] == TEXT, _values(rows)
    if rows["shots"].iloc[0]:
        first = after.columns.intersection(before.columns)
        after = after[first]
    else:  # It was measured once, for whatever draw.
        first = before.columns[[0]]
    ours, theirs = after.to_numpy(), before.reindex(after.index)[first].to_numpy()
    complete = ~(np.isnan(ours).any(axis=1) | np.isnan(theirs).any(axis=1))
    ours, theirs = ours[complete], np.broadcast_to(theirs[complete], ours[complete].shape)
    sizes = np.ones(len(ours))
    if is_text:
        tokens = rows.drop_duplicates("id").set_index("id")["tokens"]
        sizes = tokens.reindex(after.index).to_numpy(dtype=float)[complete]
    told = {
        "seeds": after.shape[1],
        "rows": len(after),
        "unfit": int((~complete).sum()),
        "tokens": int(sizes.sum()) if is_text else None,
    }
    if not ours.size:
        return told
    total = sizes.sum() * ours.shape[1]
    means = {
        "before": (theirs * sizes[:, None]).sum() / total,
        "after": (ours * sizes[:, None]).sum() / total,
    }
    found = stats.parts(((ours - theirs) * sizes[:, None]).T, sizes)
    error = stats.error_of(found) if len(ours) > 1 else stats.Error(np.nan, np.nan)
    low, high = stats.t_bounds(found.mean, error.error, error.df)
    return {
        **told, **means, "change": found.mean, "error": error.error, "df": error.df,
        "low": float(low), "high": float(high),
    }  # fmt: skip


def worse(frame: pd.DataFrame) -> pd.DataFrame:
    """Return changes with what was lost, `lost`, `lost_low` and `lost_high`: nats per token of a
    text, points of accuracy of a task. Above zero it is worse than before."""
    sign = np.where(frame["kind"] == TEXT, 1.0, -100.0)
    bounds = np.stack([sign * frame[name].astype(float) for name in ("low", "high")])
    return frame.assign(
        lost=sign * frame["change"].astype(float),
        lost_low=bounds.min(axis=0),
        lost_high=bounds.max(axis=0),
    )


def sources_in_order(frame: pd.DataFrame, catalog: dict) -> Sequence[tuple[str, str, int]]:
    """Return what is measured (ASKED), as the study lists it: texts, then tasks by shots."""
    listed = [*catalog["forgetting"]["texts"], *catalog["forgetting"]["tasks"]]
    present = frame[ASKED].drop_duplicates().itertuples(index=False, name=None)
    return sorted(present, key=lambda each: (listed.index(each[0]), each[2]))


def source_title(catalog: dict, source: str, shots: int) -> str:
    """Return what tables and figures call a text, or a task with so many shots."""
    told = catalog["forgetting"]
    if source in told["texts"]:
        return told["texts"][source]
    return f"{told['tasks'][source]}, {shots} shot{'s' * (shots != 1)}"


def gains(evidence: Evidence, catalog: dict, k: int) -> pd.DataFrame:
    """Return what each cell with k shots gains in domain over the same model in context without
    any, in points (`gain`), after the last epoch; whether it is `trained`; and of how many of the
    `seeds_planned` the gain is (`seeds_gained`).

    Where the model was not asked without shots with the cell's pattern, by the first with which it
    was; a cell of a model that was not asked at all is left out.
    """
    metrics = at_level(evidence.metrics)
    inside = (metrics["domain"] == "in") & (metrics["selection"] == "last")
    means = summarise(metrics[inside & metrics["k"].isin([0, k])])
    means = means[means["seeds"] > 0]
    start: dict[tuple, float] = {}
    for row in means[means["k"] == 0].itertuples():
        for key in ((row.task, row.model, row.pattern), (row.task, row.model)):
            start.setdefault(key, row.mean)
    rows = []
    for row in means[means["k"] == k].itertuples():
        key = (row.task, row.model, row.pattern)
        origin = start.get(key, start.get(key[:2]))
        if origin is not None and not is_baseline(catalog, row.method):
            rows.append(
                {
                    **{name: getattr(row, name) for name in ARM},
                    "gain": 100 * (row.mean - origin),
                    "trained": is_trained(catalog, row.method),
                    "seeds_gained": row.seeds,
                    "seeds_planned": row.seeds_planned,
                }
            )
    return pd.DataFrame(rows, columns=[*ARM, "gain", "trained", "seeds_gained", "seeds_planned"])
