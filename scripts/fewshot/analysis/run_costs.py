"""What every finished seed cost, from its run's manifest: tokens, operations, seconds, bytes.

A prediction is an evaluation row, in and out of domain alike: costs of one are means over all rows,
as the measured seconds are. Manifests made before counts were kept give nulls, never guesses.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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
    "teach": "seconds_train",
    "curve": "seconds_curve",
    "score": "seconds_score",
    "retrieve": "seconds_score",
}
"""Phase of a manifest → column; all others are `seconds_other`, but for `ASIDE`."""
ASIDE = "forgetting"
"""Phase that is no cost of a method: a study asks what else has changed, nobody who deploys it."""
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


def _operations(costs: Mapping) -> float:
    """Return all operations of a seed's run: training, encoding its context once, and every row
    that was scored; `costs` is a row of result_schemas.COSTS."""
    scored = costs["scored_rows"] * costs["flops_cached"]
    return costs["flops_train"] + costs["flops_context"] + scored


def held_out_costs(manifest: Mapping, passes: Mapping, model: FlopsModel) -> dict[int, dict]:
    """Return by finished seed what holding its shots out took, over all folds: operations as
    `flops` (see `_operations`), those of inputs without content, which few held-out rows do
    not outweigh, among them; and `device_seconds`."""
    done = {key: entry for key, entry in manifest["seeds"].items() if entry["status"] == "ok"}
    load = sum(entry["seconds"].get("load", 0.0) for entry in done.values())
    multiplied, found = TrainingPasses(**passes), {}
    for seed, entry in done.items():
        folds = [_work(manifest, fold, model, multiplied) for fold in entry["folds"]]
        without = [_content_free(manifest, fold, model, multiplied) for fold in entry["folds"]]
        found[int(seed)] = {
            "flops": sum(map(_operations, folds)) + sum(without),
            "device_seconds": _resources(manifest, entry, load / len(done))["device_seconds"],
        }
    return found


def _predicting(size: ModelSize, passes: TrainingPasses) -> ModelSize:
    """Return the size of a model with the weights that a method has put beside its layers' own."""
    return replace(size, weights=size.weights + passes.predicting)


def _content_free(
    manifest: Mapping, fold: Mapping, model: FlopsModel, passes: TrainingPasses
) -> float:
    """Return the operations of reading a fold's inputs without content behind its contexts, which
    are encoded for the held-out rows."""
    answer = flops.head(model.size, manifest["settings"], model.labels)
    learned = fold.get("training", {}).get("learned_keys", 0)
    counts, size = fold.get("content_free_scoring", {}).values(), _predicting(model.size, passes)
    return sum(
        each["rows"] * _reading([each], each["rows"], learned, answer, size)["flops_cached"]
        for each in counts
    )


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
        if phase != ASIDE:
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
    if "index" in entry:
        counts = _counts(entry["index"], entry["index"]["rows"])
        train["flops_train"] = flops.uncached(model.size, counts, 0)
    if not in_context:
        train = _training(manifest, entry, model, passes, answer)
    learned = trained["learned_keys"] if trained else 0
    costs = {
        **train,
        # A context that is learned itself has those of its shots.
        "virtual_tokens": learned or settings.get("virtual_tokens", 0),
        "shape_known": model.size.known,
        "disk_bytes": entry.get("kept_bytes"),
    }
    if not sets or any("own_squares" not in part for entry in sets for part in _contexts(entry)):
        return costs  # An older manifest: the rest is null.
    rows = sum(entry["rows"] for entry in sets)
    return {
        **costs,
        "rows": rows,
        "scored_rows": rows if in_context else entry["scored_rows"],
        **_reading(sets, rows, learned, answer, _predicting(model.size, passes)),
        "cache_bytes": _cache_bytes(sets, manifest, model.size, learned),
    }


def _training(
    manifest: dict, entry: dict, model: FlopsModel, passes: TrainingPasses, answer: int
) -> dict:
    """Return steps, epochs, tokens and operations of a seed's training."""
    done = entry.get("training")
    if not done:
        return {"steps": entry.get("steps")}
    rows = done["rows"] * done.get("readings", 1)
    counts = Counts(
        rows=rows,
        shared=0,
        own=done["tokens"],
        squares=done["squares"],
        learned=done["learned_keys"],
        answers=done.get("answers", 0),
    )
    operations = flops.training(model.size, counts, done["epochs"], passes, answer)
    for taught in entry.get("distillation", {}).get("rounds", ()):
        read = _counts(taught, taught["rows"])
        operations += flops.context(model.size, read) + flops.cached(model.size, read, answer)
    return {
        "steps": entry.get("steps"),
        "epochs": done["epochs"],
        "train_tokens": round(done["tokens"]),
        "flops_train": operations,
    }


def _contexts(entry: dict) -> list[dict]:
    """Return the counts of each context that an evaluation set was read behind: mostly one."""
    return entry.get("contexts", [entry])


def _reading(sets: list[dict], rows: int, learned: int, answer: int, size: ModelSize) -> dict:
    """Return tokens and operations of a row, means over the rows of all sets.

    A row that is read behind several contexts has the sum over these; where its own state chooses
    the shots, the reading of its bare query, of which no answer is read off, is added.
    """
    counts = [
        (entry["rows"], _counts(part, entry["rows"], learned))
        for entry in sets
        for part in _contexts(entry)
    ]
    states = [
        (entry["rows"], _counts(entry["states"], entry["rows"]))
        for entry in sets
        if "states" in entry
    ]

    def mean(values) -> float:
        return sum(values) / rows

    def operations(of: Callable[[ModelSize, Counts, int], float]) -> float:
        whole = sum(of(size, count, answer) for _, count in counts)
        return (whole + sum(of(size, count, 0) for _, count in states)) / rows

    return {
        "context_tokens": mean(n * count.shared for n, count in counts),
        "row_tokens": mean(count.own for _, count in (*counts, *states)),
        "tokens_read": sum(
            part["tokens_read"] for entry in sets for part in (entry, entry.get("states", _NO))
        ),
        "flops_context": mean(n * flops.context(size, count) for n, count in (*counts, *states)),
        "flops_cached": operations(flops.cached),
        "flops_uncached": operations(flops.uncached),
    }


_NO = {"tokens_read": 0}


def _counts(part: Mapping, rows: int, learned: int = 0) -> Counts:
    """Return the counts of prompts from what a manifest tells of them: with channel scoring a row
    has one for each label."""
    return Counts(
        rows=part.get("prompts", rows),
        shared=part["shared_tokens"],
        own=part["own_tokens"],
        squares=part["own_squares"],
        learned=learned,
        answers=part.get("answers", 0),
    )


def _cache_bytes(sets: list[dict], manifest: dict, size: ModelSize, learned: int) -> float:
    """Return the bytes of keys and values of the longest encoded context, or of all the contexts
    that a row is read behind, and of the learned ones, if the shape is known."""
    if not size.known or manifest.get("dtype") not in ELEMENT_BYTES:
        return NONE
    sliding = size.sliding / size.attention if size.sliding else 0.0

    def kept(tokens: int) -> float:
        return tokens * (1 - sliding) + min(tokens, size.window) * sliding

    most = max(
        sum(kept(part["shared_tokens"] + learned) for part in _contexts(entry)) for entry in sets
    )
    # A share of the layers, as a fraction: whole again but for rounding.
    return round(most * size.cache * ELEMENT_BYTES[manifest["dtype"]])
