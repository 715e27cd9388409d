"""The questions of one task (see `questions`) with estimate, intervals and tests of both claims.

For these rows: other draws would say the same, by Student's t over seeds. For rows like these:
other draws and other rows would, by the crossed error (stats/crossed.py). A mean over models or
patterns also has the error for others like these (stats/crossed_means.py). Every contrast is linear
in answers, so that all follow from how many answers of each cluster of rows an arm has right.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from ..data import halves
from ..data.evaluation_sets import EvaluationSet
from . import statistics_schemas, stats
from .arms import ARM, Arms, RowClusters, arms_of, row_clusters, seeds_status
from .held_out_rows import counted_by, judging_sets
from .questions import MEAN, MEAN_OF_KIND, Arm, Contrast, MeanOfCells, contrasts_of, means_of
from .titles import is_trained

BLANK = {name: None for name in statistics_schemas.CONTRASTS.names}
MASKS = {
    "planned": lambda arms: arms.planned,
    "fit": lambda arms: ~arms.unfit,
    "score": lambda arms: ~np.isnan(arms.score),
    "answers": lambda arms: arms.outcome >= 0,
}
"""What arms [A] can have of a seed [S]: a plan, a context that fits, a score, row predictions."""


@dataclass(frozen=True)
class _SetAnswers:
    """The answers of all arms of one evaluation set, over the `seeds` [S] of all sets."""

    arms: Arms
    seeds: np.ndarray
    clusters: RowClusters
    packed: np.ndarray
    places: dict[tuple, int]
    kept: dict[tuple, np.ndarray] = field(default_factory=dict)

    def seeds_with(self, arm: Arm, mask: np.ndarray) -> np.ndarray:
        """Return for which seeds a `mask` [A, S'] of the set's arms is true of an arm, bool [S]."""
        found = np.zeros(len(self.seeds), dtype=bool)
        if arm[1:] in self.places:
            found[np.searchsorted(self.seeds, self.arms.seeds)] = mask[self.places[arm[1:]]]
        return found

    def right(self, arm: Arm) -> np.ndarray:
        """Return how many answers of each cluster are right, [S, C]; 0 for a seed without any."""
        if arm not in self.kept:
            runs = self.arms.outcome[self.places[arm[1:]]]
            sums = self.clusters.sums(self.packed[runs[runs >= 0]])
            whole = np.zeros((len(self.seeds), sums.shape[1]), dtype=sums.dtype)
            whole[np.searchsorted(self.seeds, self.arms.seeds[runs >= 0])] = sums
            self.kept[arm] = whole
        return self.kept[arm]


class _Answers:
    """The answers to all evaluation sets of one task."""

    def __init__(
        self,
        metrics: pd.DataFrame,
        outcomes: pd.DataFrame,
        sets: Iterable[EvaluationSet],
        catalog: dict,
    ) -> None:
        self.catalog = catalog
        packed = outcomes["correct"].to_numpy(dtype=object)
        by_half = catalog["main"]["selection"] == halves.SELECTION
        known = {}
        for item, half in judging_sets(metrics, sets):
            # In domain the test half stands in the place of all rows where the others chose.
            if half or not (by_half and item.name == metrics["task"].iloc[0]):
                judged = counted_by(metrics, half=half)
                known[item.name] = item, arms_of(judged, outcomes, item.name)
        seeds = np.unique(np.concatenate([arms.seeds for _, arms in known.values()]))
        self.sets = {
            name: _SetAnswers(arms, seeds, row_clusters(item), packed, _places(arms))
            for name, (item, arms) in known.items()
        }

    def keys(self) -> dict[str, pd.DataFrame]:
        """Return the arms of each set: ARM, and `unfit` where no seed fits the window."""
        found = {name: each.arms for name, each in self.sets.items()}
        return {
            name: arms.keys.assign(unfit=(arms.unfit >= arms.planned).all(axis=1))
            for name, arms in found.items()
        }

    def sides(self, arms: Iterable[Arm]) -> list[list[Arm]]:
        """Return the arms whose draws are the same: all, or fine-tuned ones and others apart."""
        arms = list(arms)
        if self.catalog.get("shared_draws", True):
            return [arms]
        trained = [arm for arm in arms if is_trained(self.catalog, arm[2])]
        shown = [arm for arm in arms if not is_trained(self.catalog, arm[2])]
        return [side for side in (trained, shown) if side]

    def seeds_with(self, arms: Iterable[Arm], of: str) -> np.ndarray:
        """Return of which seeds all `arms` have what one of MASKS tells, bool [S]."""
        masks = [
            self.sets[arm[0]].seeds_with(arm, MASKS[of](self.sets[arm[0]].arms)) for arm in arms
        ]
        return np.all(masks, axis=0)

    def rows(self, arms: Iterable[Arm]) -> int:
        """Return the fewest rows of the sets of these arms."""
        return min(len(self.sets[arm[0]].clusters.of) for arm in arms)


def _places(arms: Arms) -> dict[tuple, int]:
    keys = arms.keys[ARM].itertuples(index=False, name=None)
    return {tuple(key): place for place, key in enumerate(keys)}


def contrasts(
    metrics: pd.DataFrame,
    outcomes: pd.DataFrame,
    sets: Sequence[EvaluationSet],
    catalog: dict,
) -> pd.DataFrame:
    """Return all contrasts (statistics_schemas.CONTRASTS) of one task.

    `metrics` and `outcomes` are those of all its models, `sets` its evaluation sets. A contrast
    rests on the seeds that all its arms have. Where the catalog says that draws are not shared
    (`shared_draws` is false), fine-tuned arms keep their seeds, and those in context theirs. What
    has fewer than two seeds, or lacks an arm, has no estimate, and its status says why.
    """
    if metrics.empty or not sets:
        return pd.DataFrame(columns=statistics_schemas.CONTRASTS.names)
    answers = _Answers(metrics, outcomes, sets, catalog)
    first, keys = metrics.iloc[0], answers.keys()
    rows = [_answered(each, answers) for each in contrasts_of(keys, first["task"], catalog)]
    for mean in means_of(keys, first["task"], catalog):
        rows += _means(mean, answers)
    frame = pd.DataFrame([BLANK | row for row in rows], columns=statistics_schemas.CONTRASTS.names)
    frame = frame.assign(protocol=first["protocol"], task=first["task"])
    counts = frame[["seeds", "seeds_planned", "rows", "clusters"]].fillna(0).astype("int32")
    return frame.assign(**counts)


def _answered(contrast: Contrast, answers: _Answers) -> dict:
    """Return the row of one contrast."""
    sides = answers.sides(contrast.weights)
    seeds, counted = _seeds(sides, answers)
    row = {**contrast.names, "question": contrast.question, "varies": "draws and rows", **counted}
    if not all(each.sum() > 1 for each in seeds):
        return row
    found = [
        _combined(_weighted(side, each, contrast.weights, answers), answers)
        for side, each in zip(sides, seeds, strict=True)
    ]
    rows = found[0]
    if len(found) > 1:
        rows = _parts_of_means(sides, seeds, contrast.weights, answers)
    return row | _estimated(found, rows)


def _estimated(sides: Sequence[stats.Parts], rows: stats.Parts) -> dict:
    """Return the columns of an estimate from the parts of one side, or of two with unrelated draws;
    `rows` are then those of both sides' means as one seed."""
    error = stats.error_of(rows) if len(sides) == 1 else stats.error_apart(*sides, rows)
    draws = np.array([side.draws for side in sides])
    df = np.array([len(side.seeds) - 1.0 for side in sides])
    draw_df = stats.satterthwaite(draws.sum(), draws, df)
    mean = sum(side.mean for side in sides)
    return {
        "estimate": mean,
        "draw_variance": draws.sum(),
        "draw_df": draw_df,
        "row_variance": rows.rows,
        "row_df": rows.row_df,
        "joint_variance": -sum(side.both for side in sides),
        "clusters": rows.clusters,
        **tested(mean, error, stats.error_from(draws, df)),
    }


def tested(mean: float, error: stats.Error, draws: stats.Error) -> dict[str, float]:
    """Return error, interval and p of both claims: `error` is that of rows like these, `draws` that
    of these rows. nan where nothing varies."""
    found = {"error": error.error, "df": error.df}
    for name, each in (("", error), ("_draws", draws)):
        found[f"low{name}"], found[f"high{name}"] = stats.t_bounds(mean, each.error, each.df)
        found[f"p{name}"] = stats.t_test(mean, each.error, each.df)
    return {name: float(value) for name, value in found.items()}


def _seeds(sides: list[list[Arm]], answers: _Answers) -> tuple[list[np.ndarray], dict]:
    """Return the seeds bool [S] that all arms of each side have, and what is told of them: of the
    side that has fewer."""
    done, told = [], []
    for side in sides:
        planned, score, kept, fit = (
            answers.seeds_with(side, of) for of in ("planned", "score", "answers", "fit")
        )
        done.append(kept)
        unfit = (planned & ~fit).sum()
        told.append((kept.sum(), planned.sum(), unfit, score.sum() > kept.sum()))
    count, planned, unfit, sampled = min(told, key=lambda each: (each[0] > 1, each[0] >= each[1]))
    status = seeds_status(count, planned, unfit)
    if sampled:
        status = "sampled rows"
    rows = answers.rows(arm for side in sides for arm in side)
    return done, {"seeds": count, "seeds_planned": planned, "rows": rows, "status": status}


def _weighted(
    side: Iterable[Arm], seeds: np.ndarray, weights: Mapping[Arm, float], answers: _Answers
) -> dict[str, np.ndarray]:
    """Return Σ weight · right answers [S, C] by evaluation set."""
    sums: dict[str, np.ndarray] = {}
    for arm in side:
        part = answers.sets[arm[0]].right(arm)[seeds] * weights[arm]
        sums[arm[0]] = sums[arm[0]] + part if arm[0] in sums else part
    return sums


def _combined(sums: dict[str, np.ndarray], answers: _Answers) -> stats.Parts:
    found = [answers.sets[name].clusters.parts(each) for name, each in sums.items()]
    return found[0] if len(found) == 1 else stats.combined(found, [1.0] * len(found))


def _parts_of_means(
    sides: Sequence[Iterable[Arm]],
    seeds: Sequence[np.ndarray],
    weights: Mapping[Arm, float],
    answers: _Answers,
) -> stats.Parts:
    """Return the parts of the sum of all sides' means over their own seeds, as one seed."""
    total: dict[str, np.ndarray] = {}
    for side, own in zip(sides, seeds, strict=True):
        for name, sums in _weighted(side, own, weights, answers).items():
            total[name] = total.get(name, 0.0) + sums.mean(axis=0, keepdims=True)
    return _combined(total, answers)


def _means(mean: MeanOfCells, answers: _Answers) -> list[dict]:
    """Return the rows of a mean over models and patterns: over these, and over others like these,
    where there are enough."""
    arms = [arm for pair in mean.pairs.values() for arm in pair]
    named = {**mean.names, "models": list(mean.models), "patterns": list(mean.patterns)}
    varied = {"patterns": mean.patterns, "models": mean.models}
    varied = [name for name, levels in varied.items() if len(levels) >= stats.SEVERAL]
    asked = [(MEAN, []), *([(MEAN_OF_KIND, varied)] if varied else [])]
    if not arms:
        row = named | {"status": "no pattern that all models have"}
        return [row | {"question": each, "varies": _varies(by)} for each, by in asked]
    sides = answers.sides(dict.fromkeys(arms))
    seeds, counted = _seeds(sides, answers)
    rows = [named | counted | {"question": each, "varies": _varies(by)} for each, by in asked]
    if not all(each.sum() > 1 for each in seeds):
        return rows
    sums = _cells(mean, sides, seeds, answers)
    clusters = answers.sets[mean.names["evaluation_set"]].clusters
    for row, (_, by) in zip(rows, asked, strict=True):
        fixed = tuple(1 + i for i, name in enumerate(("patterns", "models")) if name not in by)
        averaged = [each.mean(axis=fixed, keepdims=True) for each in sums]
        make = stats.mean_parts if len(sums) == 1 else stats.mean_parts_apart
        row |= _mean_row(make(*averaged, clusters.sizes, clusters.strata))
    return rows


def _varies(by: Sequence[str]) -> str:
    """Return in words what an error allows for: draws, rows and the levels of the factors `by`."""
    *first, last = ["draws", "rows", *by]
    return f"{', '.join(first)} and {last}"


def _mean_row(parts: stats.MeanParts) -> dict:
    """Return the columns of a mean, with the parts of its variance."""
    shares = [stats.Share(parts)]
    error, draws = stats.error_of_mean(shares), stats.draws_of_mean(shares)
    return {
        "estimate": parts.mean,
        "cells": [float(value) for value in np.ravel(parts.cells)],
        "draw_variance": parts.draws,
        "draw_df": parts.draw_df,
        "row_variance": parts.rows,
        "row_df": parts.row_df,
        "joint_variance": parts.joint,
        "clusters": parts.clusters,
        **tested(parts.mean, error, draws),
    }


def _cells(
    mean: MeanOfCells,
    sides: Sequence[Sequence[Arm]],
    seeds: Sequence[np.ndarray],
    answers: _Answers,
) -> list[np.ndarray]:
    """Return the sums [S, P, M, C] of differences over patterns and models; of unrelated draws, the
    sums of both sides, each with its sign."""
    own = answers.sets[mean.names["evaluation_set"]]
    found = []
    for side, chosen in zip(sides, seeds, strict=True):
        shape = (int(chosen.sum()), len(mean.patterns), len(mean.models), len(own.clusters.sizes))
        sums = np.zeros(shape)
        for (model, pattern), pair in mean.pairs.items():
            at = sums[:, mean.patterns.index(pattern), mean.models.index(model)]
            for arm, sign in zip(pair, (1, -1), strict=True):
                if arm in side:
                    at += sign * own.right(arm)[chosen]
        found.append(sums)
    return found
