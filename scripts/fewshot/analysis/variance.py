"""Where the variance of a cell's answers comes from: draws, orders, patterns, evaluation rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet
from . import statistics_schemas, stats
from .arms import ARM, Arms, arms_of
from .held_out_rows import counted_by, judging_sets
from .predictions import unpack

CELL = ["model", "method", "k", "selection"]
NAMES = {
    frozenset({"seed"}): "seed",
    frozenset({"pattern"}): "pattern",
    frozenset({"seed", "pattern"}): "seed_pattern",
    frozenset({"row"}): "row",
    frozenset({"seed", "row"}): "seed_row",
    frozenset({"pattern", "row"}): "pattern_row",
    frozenset({"order"}): "order",
}
OF_ROWS = ["row", "seed_row", "pattern_row", "residual"]
Results = tuple[pd.DataFrame, pd.DataFrame]
"""Metrics and outcomes of one task."""


def split_variance(
    metrics: pd.DataFrame,
    outcomes: pd.DataFrame,
    sets: Iterable[EvaluationSet],
    orders: Sequence[Results] = (),
) -> pd.DataFrame:
    """Return the variance components (statistics_schemas.VARIANCE) of a task's models and methods.

    `orders` are the results of tasks with the same shots in other orders: where they have all that
    is split, the part of the order is told apart from that of the draw.

    Each rests on a full table of patterns × seeds × rows: of the patterns that have any seed with
    row predictions, the seeds that all of them have. A cell without two patterns, two seeds or two
    rows lacks the components in question; what is missing is told by the counts and `status`.
    """
    frames = []
    for item, half in judging_sets(metrics, sets):
        own, *others = (
            (counted_by(frame, half=half), answers)
            for frame, answers in ((metrics, outcomes), *orders)
        )
        frames.append(_split_on(item, own, others))
    frames = [frame for frame in frames if len(frame)]
    columns = statistics_schemas.VARIANCE.names
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class _Order:
    """The arms of one evaluation set with the shots in one order, and the answers of all runs."""

    arms: Arms
    packed: np.ndarray

    def runs(self, keys: pd.DataFrame, seeds: np.ndarray) -> np.ndarray:
        """Return the outcomes' rows [P, S] of arms (ARM) and seeds; -1: there is none."""
        at = pd.MultiIndex.from_frame(self.arms.keys[ARM]).get_indexer(
            pd.MultiIndex.from_frame(keys[ARM])
        )
        column = pd.Index(self.arms.seeds).get_indexer(seeds)
        known = (at[:, None] >= 0) & (column >= 0)
        return np.where(known, self.arms.outcome[np.ix_(at, column)], -1)


def _order(item: EvaluationSet, own: str, metrics: pd.DataFrame, outcomes: pd.DataFrame) -> _Order:
    task = metrics["task"].iloc[0]
    name = task if item.name == own else item.name  # Its own set has its own name.
    return _Order(arms_of(metrics, outcomes, name), outcomes["correct"].to_numpy(dtype=object))


def _split_on(item: EvaluationSet, own: Results, orders: Sequence[Results]) -> pd.DataFrame:
    task = own[0]["task"].iloc[0]
    known = [_order(item, task, *each) for each in (own, *orders) if len(each[0])]
    arms = known[0].arms
    components: dict[tuple, dict] = {}
    rows = []
    for key, members in arms.keys.groupby(CELL, sort=False):
        keys, seeds, counts = _full_table(arms, members.index.to_numpy())
        used = known if key[CELL.index("k")] else known[:1]  # Nothing is ordered without shots.
        runs = {i: each.runs(keys, seeds) for i, each in enumerate(used)}
        runs = {i: at for i, at in runs.items() if (at >= 0).all()}
        told = tuple((i, at.tobytes()) for i, at in runs.items())
        if told not in components:  # Selections often choose the same epochs.
            packed = np.stack([known[i].packed[at] for i, at in runs.items()], axis=2)
            components[told] = _components(packed, len(item.labels))
        planned = 1 + len(orders) if key[CELL.index("k")] else 1
        counts |= {"orders": len(runs) if counts["seeds"] else 0, "orders_planned": planned}
        if counts["status"] == "ok" and len(runs) < planned:
            counts["status"] = f"{len(runs)}/{planned} orders"
        rows.append(dict(zip(CELL, key, strict=True)) | counts | components[told])
    if not rows:
        return pd.DataFrame()
    first = own[0].iloc[0]
    frame = pd.DataFrame(rows).assign(
        protocol=first["protocol"],
        task=task,
        evaluation_set=item.name,
        domain="in" if item.name == task else "out",
        rows=len(item.labels),
    )
    return frame[statistics_schemas.VARIANCE.names]


def _full_table(arms: Arms, patterns: np.ndarray) -> tuple[pd.DataFrame, np.ndarray, dict]:
    """Return arms and seeds of a full table, and what it has of what was planned."""
    planned = arms.planned[patterns]
    there = arms.outcome[patterns] >= 0
    some = there.any(axis=1)
    seeds = there[some].all(axis=0) if some.any() else np.zeros(there.shape[1], dtype=bool)
    runs = arms.outcome[patterns][some][:, seeds]
    wanted = planned.any(axis=0).sum()
    counts = {
        "patterns": len(runs),
        "patterns_planned": len(patterns),
        "seeds": runs.shape[1],
        "seeds_planned": wanted,
        "status": _status(runs, len(patterns), wanted, arms, patterns),
    }
    return arms.keys.iloc[patterns[some]], arms.seeds[seeds], counts


def _status(runs: np.ndarray, patterns: int, seeds: int, arms: Arms, at: np.ndarray) -> str:
    if runs.shape == (patterns, seeds):
        return "ok"
    if runs.size:
        return f"{runs.shape[0]}/{patterns} patterns, {runs.shape[1]}/{seeds} seeds"
    if (arms.rows[at] > 0).any():
        return "no common row predictions"
    return "does not fit" if (arms.unfit[at] == arms.planned[at]).all() else "missing"


def _components(packed: np.ndarray, n: int) -> dict[str, float]:
    """Return mean, components and spread of the packed answers to n rows, [P, S, O].

    Mean and spread are those of the draw's own order, the first.
    """
    bounds = [f"{part}_{side}" for part in statistics_schemas.PARTS for side in ("low", "high")]
    estimates = dict.fromkeys(["mean", "spread", *statistics_schemas.PARTS, *bounds], np.nan)
    if not packed.size:
        return estimates
    values = unpack(packed.ravel(), n).reshape(*packed.shape, n)
    own = values[:, :, 0]
    estimates["mean"] = float(own.mean())
    estimates["spread"] = stats.prompt_sensitivity(own.mean(axis=2)).spread
    axes = ["pattern", "seed", "order", "row"]
    factors = [name for name, size in zip(axes, values.shape, strict=True) if size > 1]
    if len(factors) > 1:
        estimates |= _parts(np.squeeze(values), factors)
    return estimates


def _parts(values: np.ndarray, factors: list[str]) -> dict[str, float]:
    """Return components and bounds of answers with an axis for each factor, by column.

    Means over all rows vary about normally, single answers do not: parts without rows have the
    bounds of mean squares, those with rows the jackknife's over draws and rows.
    """
    found = _sums(values, factors)
    bounds = {column: stats.square_sum_interval(part) for column, part in found.items()}
    of_rows = [column for column in OF_ROWS if column in found and "row" in factors]
    if of_rows:
        axes = [factors.index(name) for name in ("seed", "row") if name in factors]

        def estimate(some: np.ndarray) -> list[float]:
            sums = _sums(some, factors)
            return [sums[column].value for column in of_rows]

        lows, highs = stats.crossed_jackknife(estimate, values, axes)
        bounds |= {column: (lows[i], highs[i]) for i, column in enumerate(of_rows)}
    parts = {}
    for column, part in found.items():
        low, high = np.maximum(bounds[column], 0.0)
        parts |= {column: max(part.value, 0.0), f"{column}_low": low, f"{column}_high": high}
    return parts


def _sums(values: np.ndarray, factors: list[str]) -> dict[str, stats.SquareSum]:
    """Return the components of answers by column; that of several effects is their sum."""
    within = ("order", "seed") if {"order", "seed"} <= set(factors) else None
    found: dict[str, stats.SquareSum] = {}
    for effect, part in stats.component_sums(values, factors, within).items():
        column = _nested_column(effect) if within else _crossed_column(effect, factors)
        found[column] = found[column].plus(part) if column in found else part
    return found


def _crossed_column(effect: frozenset[str], factors: list[str]) -> str:
    """Return the column of an effect; what patterns and rows make of orders is left over."""
    return "residual" if effect == set(factors) else NAMES.get(effect, "residual")


def _nested_column(effect: frozenset[str]) -> str:
    """Return the column of an effect of draws, orders within them, patterns and rows: what patterns
    make of orders is theirs with the draw, and what is left is what rows make of any two."""
    if effect == {"seed", "order"}:
        return "order"
    if "row" in effect and ("order" in effect or effect > {"seed", "pattern"}):
        return "residual"
    return NAMES[effect - {"order"}]
