"""What every finished seed cost, from its run's manifest: tokens, operations, seconds, bytes.

A prediction is an evaluation row, in and out of domain alike: costs of one are means over all rows,
as the measured seconds are. Manifests made before counts were kept give nulls, never guesses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import storage
from ..models.shapes import ELEMENT_BYTES
from . import flops, result_schemas
from .flops import Counts, ModelSize, TrainingPasses

PHASES = {
    "load": "seconds_load",
    "train": "seconds_train",
    "curve": "seconds_curve",
    "score": "seconds_score",
}
"""Phase of a manifest → column; all others are `seconds_other`."""
NONE = np.nan


@dataclass(frozen=True)
class FlopsModel:
    """What of a model and task decides operations: its size, and the number of labels."""

    size: ModelSize
    labels: int


def flops_model(size: Mapping, sets: list[Mapping]) -> FlopsModel:
    """Return the model of what the rules pass: the fields of flops.ModelSize, and evaluation sets,
    the task's own first, whose `merge` has an entry for each label."""
    return FlopsModel(ModelSize(**size), len(sets[0]["merge"]))


def compute_costs(cell: dict, jobs: list[dict], model: FlopsModel) -> pd.DataFrame:
    """Return the costs (result_schemas.COSTS) of all finished seeds of one protocol × task × model.

    `cell` names these; each job has method, pattern, k, seeds, the folder of its run and `passes`,
    the fields of flops.TrainingPasses. Jobs
    without a manifest have no finished seed; results made by other software have no known cost.
    """
    rows = []
    for job in jobs:
        path = Path(job["folder"], "manifest.json")
        manifest = storage.read_json(path) if path.exists() else {"seeds": {}}
        if manifest.get("settings", {}).get("family") == "imported":
            continue
        key = {**cell, **{name: job[name] for name in ("method", "pattern", "k")}}
        rows += [{**key, **row} for row in _seeds(manifest, job, model)]
    return pd.DataFrame(rows, columns=result_schemas.COSTS.names)


def _seeds(manifest: dict, job: dict, model: FlopsModel) -> Iterator[dict]:
    """Yield the costs of the job's finished seeds."""
    done = {
        seed: entry
        for seed, entry in manifest["seeds"].items()
        if entry["status"] == "ok" and int(seed) in job["seeds"]
    }
    # The first seed that is run carries the time of what all share.
    load = sum(entry.get("seconds", {}).get("load", 0.0) for entry in done.values())
    for seed, entry in done.items():
        yield {
            "seed": int(seed),
            **_resources(manifest, entry, load / len(done)),
            **_work(manifest, entry, model, TrainingPasses(**job["passes"])),
        }


def _resources(manifest: dict, entry: dict, load: float) -> dict:
    """Return what was measured of a seed."""
    seconds = {name: 0.0 for name in (*PHASES.values(), "seconds_other")}
    for phase, value in entry.get("seconds", {}).items():
        seconds[PHASES.get(phase, "seconds_other")] += value
    seconds["seconds_load"] = load
    processes = manifest.get("world_size", 1)
    parameters = manifest.get("parameters") or {}
    peak = entry.get("peak_memory_mib", manifest.get("peak_memory_mib"))
    return {
        "device": str(manifest.get("device")),
        "processes": processes,
        **seconds,
        "device_seconds": processes * sum(seconds.values()),
        "peak_memory_mib": peak,
        "predicted_memory_mib": (manifest.get("memory") or {}).get("predicted_gpu_mib"),
        "parameters": parameters.get("total"),
        "trainable": parameters.get("trainable"),
    }


def _work(manifest: dict, entry: dict, model: FlopsModel, passes: TrainingPasses) -> dict:
    """Return what was counted of a seed, and the operations that follow."""
    settings, trained = manifest["settings"], entry.get("training")
    in_context = "steps" not in entry  # which every seed that was trained has
    sets = list(entry.get("scoring", {}).values())
    answer = flops.head(model.size, settings, model.labels)
    train = {"steps": 0, "epochs": 0, "train_tokens": 0, "flops_train": 0.0}
    if not in_context:
        train = _training(manifest, entry, model, passes, answer)
    learned = trained["learned_keys"] if trained else 0
    found = {
        **train,
        "virtual_tokens": settings.get("virtual_tokens", 0),
        "shape_known": model.size.known,
        "disk_bytes": entry.get("kept_bytes"),
    }
    if not sets or any("own_squares" not in each for each in sets):
        return found  # An older manifest: the rest is null.
    rows = sum(each["rows"] for each in sets)
    return {
        **found,
        "rows": rows,
        "scored_rows": rows if in_context else entry["scored_rows"],
        **_reading(sets, rows, learned, answer, model.size),
        "cache_bytes": _cache_bytes(sets, manifest, model.size),
    }


def _training(
    manifest: dict, entry: dict, model: FlopsModel, passes: TrainingPasses, answer: int
) -> dict:
    """Return steps, epochs, tokens and operations of a seed's training."""
    done = entry.get("training")
    if not done:
        return {"steps": entry.get("steps")}
    counts = Counts(done["rows"], 0, done["tokens"], done["squares"], done["learned_keys"])
    trainable = (manifest.get("parameters") or {}).get("trainable", 0)
    operations = flops.training(model.size, counts, done["epochs"], passes, answer, trainable)
    return {
        "steps": entry.get("steps"),
        "epochs": done["epochs"],
        "train_tokens": done["tokens"],
        "flops_train": operations,
    }


def _reading(sets: list[dict], rows: int, learned: int, answer: int, size: ModelSize) -> dict:
    """Return tokens and operations of a row, means over the rows of all sets."""
    counts = [
        Counts(
            each["rows"], each["shared_tokens"], each["own_tokens"], each["own_squares"], learned
        )
        for each in sets
    ]

    def mean(values) -> float:
        return sum(values) / rows

    return {
        "context_tokens": mean(each.rows * each.shared for each in counts),
        "row_tokens": mean(each.own for each in counts),
        "tokens_read": sum(each["tokens_read"] for each in sets),
        "flops_context": mean(each.rows * flops.context(size, each) for each in counts),
        "flops_cached": mean(flops.cached(size, each, answer) for each in counts),
        "flops_uncached": mean(flops.uncached(size, each, answer) for each in counts),
    }


def _cache_bytes(sets: list[dict], manifest: dict, size: ModelSize) -> float:
    """Return the bytes of keys and values of the longest encoded context, if the shape is known."""
    if not size.known or manifest.get("dtype") not in ELEMENT_BYTES:
        return NONE
    longest = max(each["shared_tokens"] for each in sets)
    return longest * size.cache * ELEMENT_BYTES[manifest["dtype"]]
