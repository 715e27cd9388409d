"""All runs of a method in one number: interquartile mean and probability of improvement.

After Agarwal et al. 2021 (rliable). What that paper calls a task is here a cell: a task, one of its
evaluation sets and a model. A stratum of the bootstrap is a task, whose draws are resampled, each
with all its models and evaluation sets: runs of one draw have the same examples, so they are not
independent. Where every task has one set and one model, that is the paper's bootstrap.
"""

from collections.abc import Sequence

import pandas as pd

from ..rng import generator
from . import stats
from .titles import arms, way_of

CELL = ["task", "evaluation_set", "model"]
ARM = ["method", "pattern"]
COLUMNS = [
    *("domain", "k", "selection", *ARM, "tasks", "models", "cells", "cells_planned"),
    *("seeds", "seeds_planned", "interquartile_mean", "low", "high", "reference_method"),
    *("reference_pattern", "improvement", "improvement_low", "improvement_high"),
]


def aggregates(runs: pd.DataFrame, pairs: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the aggregates (COLUMNS) of each domain and arm, as shares; a row of `runs` is a run
    on a set (result_schemas.METRICS, without breakdown), of one k and, by domain, one checkpoint.

    They are over the `cells` that all arms have, of those (`cells_planned`) that any has: of
    different cells they could not be compared. `seeds` counts runs. The improvement is that over
    the reference of `pairs` (statistics_schemas.COMPARISONS, of the same model): over shared draws
    how often the run of the same draw is better, else how often one run is better than another. An
    arm without reference has none.
    """
    rows = []
    for domain, part in runs.groupby("domain", sort=False):
        own = list(arms(catalog, part))
        scores = {arm: _scores(part, arm) for arm in own}
        known = [set(frame.columns[frame.notna().any()]) for frame in scores.values()]
        planned = list(dict.fromkeys(part[CELL].itertuples(index=False, name=None)))
        cells = [cell for cell in planned if all(cell in each for each in known)]
        first = part.iloc[0]
        shared = {
            **{"domain": domain, "k": first["k"], "selection": first["selection"]},
            "tasks": list(dict.fromkeys(cell[0] for cell in cells)),
            "models": list(dict.fromkeys(cell[2] for cell in cells)),
            **{"cells": len(cells), "cells_planned": len(planned)},
        }
        for arm in own if cells else ():
            counts = part[_is(part, arm) & part[CELL].apply(tuple, axis=1).isin(cells)]
            row = shared | dict(zip(ARM, arm, strict=True)) | {"seeds_planned": len(counts)}
            row |= _middle(scores[arm][cells], cells, (domain, *arm))
            rows.append(row | _improvement(scores, arm, cells, pairs, catalog))
    return pd.DataFrame(rows, columns=COLUMNS)


def _is(frame: pd.DataFrame, arm: tuple[str, str]) -> pd.Series:
    return (frame["method"] == arm[0]) & (frame["pattern"] == arm[1])


def _scores(part: pd.DataFrame, arm: tuple[str, str]) -> pd.DataFrame:
    """Return the accuracies of an arm: a row per seed, a column per cell; nan for a missing run."""
    own = part[_is(part, arm)]
    keys = pd.MultiIndex.from_frame(own[CELL]).to_flat_index()
    table = pd.DataFrame(
        {"seed": own["seed"].to_numpy(), "cell": keys, "score": own["accuracy"].to_numpy(float)}
    )
    return table.pivot(index="seed", columns="cell", values="score")


def _middle(scores: pd.DataFrame, cells: Sequence[tuple], names: Sequence[str]) -> dict:
    found = stats.interquartile_mean_interval(
        scores.to_numpy(), generator("aggregates", *names), strata=[cell[0] for cell in cells]
    )
    bounds = {"low": found.low, "high": found.high} if len(scores) > 1 else {}
    return {"seeds": found.n, "interquartile_mean": found.mean, **bounds}


def _improvement(
    scores: dict[tuple, pd.DataFrame],
    arm: tuple[str, str],
    cells: Sequence[tuple],
    pairs: pd.DataFrame,
    catalog: dict,
) -> dict:
    """Return the improvement of an arm over its reference: the one that shows all shots in one
    context, where there are several."""
    own = pairs[_is(pairs, arm)]
    sides = list(dict.fromkeys(zip(own["reference_method"], own["reference_pattern"], strict=True)))
    sides = sorted(sides, key=lambda side: way_of(catalog, side[0]) != "")
    if not sides or sides[0] not in scores:
        return {}
    reference, shared = sides[0], catalog.get("shared_draws", True)
    a, b = (scores[side][list(cells)] for side in (arm, reference))
    if shared:
        a, b = a.align(b, join="inner", axis=0)
    found = stats.mean_improvement(
        a.to_numpy(),
        b.to_numpy(),
        generator("improvement", *arm, *reference),
        shared,
        strata=[cell[0] for cell in cells],
    )
    return {
        "reference_method": reference[0],
        "reference_pattern": reference[1],
        "improvement": found.mean,
        "improvement_low": found.low,
        "improvement_high": found.high,
    }
