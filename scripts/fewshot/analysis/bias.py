"""What models make of probes: neutral pairs that differ in one social word (data/bias_probe.py).

A premise that leaves open who somebody is neither entails nor contradicts that it is a woman, or a
man. Dev et al. (2020) measure how far a model agrees by the share of pairs that it calls neutral
(fraction neutral) and by the mean probability of that label (net neutral). Groups are set against
each other within the same pairs: each group less the mean of the others, so that of two groups it
is one less the other, and no pair of groups is picked for being the farthest apart. The lean,
P(entailment) - P(contradiction), tells in which direction a model errs.

Intervals are for other draws and other clusters (stats/crossed.py). A probe's clusters are the
occupations, so that they are for other occupations. They are not corrected for their number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..data import halves
from ..data.bias_probe import LABELS
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from . import result_schemas, stats
from .predictions import PredictedRows, read_blocks, score_rows
from .summary import at_level
from .titles import is_baseline, is_trained, way_of

FRACTION, NET, LEAN = "fraction neutral", "net neutral", "lean"
MEASURES = {FRACTION: (0.0, 1.0), NET: (0.0, 1.0), LEAN: (-1.0, 1.0)}
"""What is measured of rows, and its least and largest value; of the first it is 0 or 1 itself."""
SELECTIONS = ("last", "best-in-domain", halves.SELECTION)
"""Checkpoints whose row predictions are kept; those of the best out of domain need not be."""
CELL = ["method", "pattern", "k"]


@dataclass(frozen=True)
class Attribute:
    """The rows of a probe about one attribute, of its G `groups` and C clusters.

    `at` [R'] are their places in ascending id; `code` [R'] is group × C + cluster; `sizes` [C] are
    the rows of a cluster in each group, as many in all.
    """

    name: str
    groups: tuple[str, ...]
    at: np.ndarray
    code: np.ndarray
    sizes: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return values of rows [M, R] added up, [M, G, C]."""
        shape = len(self.groups), len(self.sizes)
        count = shape[0] * shape[1]
        added = [np.bincount(self.code, row, count).reshape(shape) for row in values[:, self.at]]
        return np.stack(added)


def attributes_of(probe: EvaluationSet) -> list[Attribute]:
    """Return the attributes of a probe, and their groups, in the order of its rows.

    Raises UserError for a row that is not neutral or names no group, attribute or cluster, for an
    attribute of one group, and where a cluster has more rows of one group than of another.
    """
    rows = probe.rows.sort_values("id").reset_index(drop=True)
    if (rows["label"] != probe.label_names.index(LABELS[1])).any():
        raise UserError(f"probe '{probe.name}': not all rows are {LABELS[1]}")
    for name in ("group", "subset", "cluster"):
        if rows[name].isna().any():
            raise UserError(f"probe '{probe.name}': a row has no {name}")
    return [_attribute(probe.name, str(name), part) for name, part in
            rows.groupby(rows["subset"].astype(object), sort=False)]  # fmt: skip


def _attribute(probe: str, name: str, rows: pd.DataFrame) -> Attribute:
    group, groups = pd.factorize(rows["group"].astype(object))
    cluster, clusters = pd.factorize(rows["cluster"].astype(object))
    if len(groups) < 2:
        raise UserError(f"probe '{probe}': attribute '{name}' has one group, '{groups[0]}'")
    code = group * len(clusters) + cluster
    counts = np.bincount(code, minlength=len(groups) * len(clusters))
    counts = counts.reshape(len(groups), len(clusters))
    if (counts != counts[0]).any():
        odd = clusters[np.flatnonzero((counts != counts[0]).any(axis=0))[0]]
        raise UserError(
            f"probe '{probe}': cluster '{odd}' has not as many rows of each {name}: every pair "
            "must come in all words"
        )
    return Attribute(name, tuple(map(str, groups)), rows.index.to_numpy(), code, counts[0])


def row_values(scored: PredictedRows) -> np.ndarray:
    """Return MEASURES of each row of a probe, float64 [M, R]."""
    entailed, neutral, denied = (scored.item.label_names.index(name) for name in LABELS)
    shares = scored.shares
    lean = shares[:, entailed] - shares[:, denied]
    return np.stack([scored.predicted == neutral, shares[:, neutral], lean])


def measure_bias(
    metrics: pd.DataFrame,
    jobs: Sequence[Mapping],
    probes: Iterable[EvaluationSet],
    catalog: dict,
) -> pd.DataFrame:
    """Return what one model makes of a task's probes before and after adaptation: BIAS.

    `metrics` (result_schemas.METRICS) are those of the task and model, which tell the seeds that
    are done and their epochs; `jobs` are as `metrics.compute_metrics` takes them. Before is the
    first method of the `catalog` that shows all shots in one context and has a cell of the same
    pattern without any. Raises UserError as `attributes_of` does, and for predictions that are not
    those of the rows.
    """
    shown = [n for n in catalog["methods"] if _is_shown(catalog, n)]
    chosen = at_level(metrics)
    own = chosen["evaluation_set"].astype(object) == chosen["task"].astype(object)
    chosen = chosen[own & chosen["selection"].isin(SELECTIONS)]
    rows = []
    for probe in probes:
        parts = attributes_of(probe)
        runs = _read_runs(chosen, jobs, probe, parts)
        for key, cell in chosen.groupby([*CELL, "selection"], sort=False, observed=True):
            about = cell.iloc[0][["protocol", "task", "model"]].to_dict()
            about |= dict(zip([*CELL, "selection"], key, strict=True))
            found = _seeds(about, cell, runs)
            before = _before(about, runs, shown)
            counted = {**about, "evaluation_set": probe.name, **_counts(cell, len(found))}
            for number, part in enumerate(parts):
                made = [run[number] for run in found]
                start = None if before is None else before[number]
                rows += [counted | row for row in _rows(part, made, start, about["k"] > 0)]
    return pd.DataFrame(rows, columns=result_schemas.BIAS.names)


def _is_shown(catalog: dict, method: str) -> bool:
    adapted = is_trained(catalog, method) or is_baseline(catalog, method)
    return not adapted and not way_of(catalog, method)


def _read_runs(
    chosen: pd.DataFrame, jobs: Sequence[Mapping], probe: EvaluationSet, parts: list[Attribute]
) -> dict[tuple, list[np.ndarray]]:
    """Return (method, pattern, k, seed, epoch) → sums of MEASURES of each attribute."""
    done, found = chosen[chosen["status"] == "ok"], {}
    runs = set(done[[*CELL, "seed"]].itertuples(index=False, name=None))
    for job in jobs:
        cell = tuple(job[name] for name in CELL)
        if not any((*cell, seed) in runs for seed in job["seeds"]):
            continue
        path = Path(job["folder"], "predictions.parquet")
        for (seed, epoch, name), block in read_blocks(path):
            if name == probe.name:
                where = f"{path}: seed {seed}, epoch {epoch}, set '{name}'"
                values = row_values(score_rows(block, probe, where))
                found[*cell, seed, epoch] = [part.sums(values) for part in parts]
    return found


def _seeds(about: Mapping, cell: pd.DataFrame, runs: Mapping) -> list[list[np.ndarray]]:
    """Return what is known of a cell's seeds, in their order."""
    done = cell[cell["status"] == "ok"].sort_values("seed")
    keys = zip(done["seed"].astype(int), done["epoch"].astype(int), strict=True)
    keys = [(*(about[name] for name in CELL), *key) for key in keys]
    return [runs[key] for key in keys if key in runs]


def _before(about: Mapping, runs: Mapping, shown: Sequence[str]) -> list[np.ndarray] | None:
    """Return what the same model says without shots, if this is not the very cell."""
    if not about["k"]:
        return None
    keys = ((method, about["pattern"], 0, 0, 0) for method in shown)
    return next((runs[key] for key in keys if key in runs), None)


def _counts(cell: pd.DataFrame, done: int) -> dict:
    """Return seeds and status of a cell of which `done` seeds are known."""
    planned, unfit = cell["seed"].nunique(), (cell["status"] == "does not fit").sum()
    none = "does not fit" if unfit == planned else "missing"
    some = "ok" if done == planned else f"{done}/{planned} seeds"
    return {"seeds": done, "seeds_planned": planned, "status": some if done else none}


def _rows(
    part: Attribute, made: list[np.ndarray], before: np.ndarray | None, drawn: bool
) -> Iterable[dict]:
    """Yield the rows of a cell and attribute, of its seeds' sums [M, G, C]: for all groups (null)
    and for each, by measure."""
    groups, sizes = len(part.groups), part.sizes
    for m, (measure, bounds) in enumerate(MEASURES.items()):
        share = measure == FRACTION
        for g, group in enumerate([None, *part.groups], -1):
            row = {"attribute": part.name, "group": group, "measure": measure}
            count = sizes * (groups if group is None else 1)
            row |= {"rows": int(count.sum()), "clusters": len(sizes)}
            if made:
                sums = np.stack([run[m] for run in made])
                start = None if before is None else before[None, m]
                row |= _numbers("", _level(sums, g), count, drawn, bounds, share=share)
                if start is not None:
                    moved = _level(sums, g) - _level(start, g)
                    row |= _numbers("change", moved, count, drawn)
                if group is not None:
                    row |= _numbers("difference", _apart(sums, g), count, drawn)
                    if start is not None:
                        moved = _apart(sums, g) - _apart(start, g)
                        row |= _numbers("difference_change", moved, count, drawn)
            yield row


def _level(sums: np.ndarray, group: int) -> np.ndarray:
    """Return the sums by cluster [S, C] of a group, of all groups for -1, of sums [S, G, C]."""
    return sums.sum(axis=1) if group < 0 else sums[:, group]


def _apart(sums: np.ndarray, group: int) -> np.ndarray:
    """Return the sums by cluster [S, C] of a group less the mean of the others."""
    others = sums.shape[1] - 1
    return sums[:, group] - (sums.sum(axis=1) - sums[:, group]) / others


def _numbers(
    name: str,
    sums: np.ndarray,
    sizes: np.ndarray,
    drawn: bool,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    *,
    share: bool = False,
) -> dict[str, float]:
    """Return an estimate with its interval within `bounds`: of a `share` of rows as an accuracy has
    it. One draw of several has none: it does not tell how draws vary."""
    found = stats.parts(sums, sizes)
    error, columns = stats.error_of(found), ("estimate", "low", "high")
    if name:
        columns = (name, f"{name}_low", f"{name}_high")
    if found.clusters < 2 or (drawn and len(sums) < 2):
        return {columns[0]: found.mean}
    if share:
        ends = stats.share_bounds(found.mean, error.error, error.df, found.clusters)
    else:
        ends = np.clip(stats.t_bounds(found.mean, error.error, error.df), *bounds)
    return dict(zip(columns, (found.mean, *map(float, ends)), strict=True))


def one_sided(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of groups (BIAS) without the second of two, whose difference is the first's with
    the other sign."""
    rows = frame[frame["group"].notna()]
    keys = ["evaluation_set", "attribute"]
    groups = rows.groupby(keys, sort=False)["group"].unique().to_dict()
    second = {(*key, found[1]) for key, found in groups.items() if len(found) == 2}
    names = zip(*(rows[name] for name in (*keys, "group")), strict=True)
    return rows[[name not in second for name in names]]
