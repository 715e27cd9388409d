"""Finished runs as experiment trackers have them: settings, numbers by epoch, a summary."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ..analysis.metrics import CELL
from ..analysis.summary import at_level
from .shared_results import METRICS, Runs, read_runs

COSTS = (
    *("seconds_load", "seconds_train", "seconds_curve", "seconds_score", "seconds_other"),
    *("device_seconds", "peak_memory_mib", "parameters", "trainable", "steps", "tokens_read"),
    *("flops_train", "flops_context", "disk_bytes"),
)
"""Columns of result_schemas.COSTS that a summary has."""


@dataclass(frozen=True)
class TrackedRun:
    """One seed of a cell.

    `points` are (epoch, name → number) in ascending epochs, from `curves.parquet`: accuracy and
    mean log-probability of the gold label word by evaluation set, and the training loss. `ended` is
    in seconds since 1970. The `id` stands for the results: others have another one.
    """

    id: str
    name: str
    group: str
    params: dict[str, str | int | float | bool]
    tags: dict[str, str]
    points: tuple[tuple[int, dict[str, float]], ...]
    summary: dict[str, float]
    ended: int


def tracked_runs(
    study: str,
    jobs: Sequence[Mapping],
    metrics: pd.DataFrame,
    costs: pd.DataFrame,
    selection: str,
) -> list[TrackedRun]:
    """Return all seeds that have results, in the order of `jobs` (exchange_inputs.exported_jobs).

    `metrics` (result_schemas.METRICS) and `costs` (COSTS) are the study's; the summary is that of
    the epoch that `selection` names. Raises UserError as `shared_results.read_runs` does.
    """
    rows = at_level(metrics)
    rows = rows[rows["status"] == "ok"]
    curves = _by_seed(rows[rows["selection"] == "each"])
    ends = _by_seed(rows[rows["selection"] == selection])
    spent = _by_seed(costs)
    found = []
    for job in jobs:
        key = tuple(job[name] for name in CELL)
        done = [seed for seed in job["seeds"] if (*key, seed) in ends]
        runs = read_runs([job]) if done else None
        for seed in done:
            place = (*key, seed)
            numbers = {**_scores(ends[place]), **_spent(spent.get(place))}
            found.append(_run(study, job, seed, runs, _points(curves[place]), numbers))
    return found


def _by_seed(frame: pd.DataFrame) -> dict[tuple, pd.DataFrame]:
    return dict(list(frame.groupby([*CELL, "seed"], sort=False)))


def _run(
    study: str, job: Mapping, seed: int, runs: Runs, points: tuple, summary: dict[str, float]
) -> TrackedRun:
    cell, manifest = {name: job[name] for name in CELL}, runs.manifests[0]
    text = json.dumps([study, cell, seed, manifest.get("files", {})], sort_keys=True)
    group = " ".join([*(str(cell[name]) for name in CELL[1:-1]), f"k{cell['k']}"])
    told = {name: manifest.get(name) for name in ("dtype", "threads", "world_size")}
    tags = {"study": study, "protocol": cell["protocol"], "code": manifest["code"]}
    tags |= {"device": str(manifest["device"])} if manifest.get("device") else {}
    return TrackedRun(
        hashlib.sha256(text.encode()).hexdigest()[:16],
        f"{group} seed{seed}",
        group,
        {**cell, "seed": seed, **dict(flat({**manifest.get("settings", {}), **told}))},
        tags,
        points,
        summary,
        runs.ended,
    )


def flat(settings: Mapping, prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """Yield settings as name → value, those within others as outer.inner; lists as JSON, and what
    is null not at all."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float | bool):
            yield f"{prefix}{key}", value
        elif value is not None:
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True, default=str)


def _points(rows: pd.DataFrame) -> tuple[tuple[int, dict[str, float]], ...]:
    found: dict[int, dict[str, float]] = {}
    for row in rows.to_dict("records"):
        name = row["evaluation_set"]
        told = {f"accuracy/{name}": row["accuracy"], f"mean_logprob/{name}": row["mean_logprob"]}
        if row["domain"] == "train":
            told = {"loss/train": -row["mean_logprob"]}
        found.setdefault(int(row["epoch"]), {}).update(_known(told))
    return tuple(sorted(found.items()))


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    found = {}
    for row in rows.to_dict("records"):
        found |= {f"final/{name}/{row['evaluation_set']}": row[name] for name in METRICS}
    return {**_known(found), "final/epoch": float(rows["epoch"].max())}


def _spent(rows: pd.DataFrame | None) -> dict[str, float]:
    if rows is None:  # Of runs made elsewhere no cost is known.
        return {}
    row = rows.iloc[0]
    return _known({f"cost/{name}": row[name] for name in COSTS})


def _known(numbers: Mapping[str, object]) -> dict[str, float]:
    """Return the numbers that are known, as floats."""
    floats = {name: float(value) for name, value in numbers.items() if not pd.isna(value)}
    return {name: value for name, value in floats.items() if math.isfinite(value)}
