"""One model before and after adaptation on a probe of neutral pairs, as runs store it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from fewshot import schemas, storage
from fewshot.data.bias_probe import LABELS
from fewshot.data.evaluation_sets import EvaluationSet
from metric_rows import metric_rows

ATTRIBUTES = {"gender": ("woman", "man"), "nationality": ("American", "Indian", "Nigerian")}
PEOPLE, SEEDS = 12, 8
CELLS = {("icl", 0): 1, ("icl", 15): SEEDS, ("ft", 15): SEEDS}
"""Method and shots → seeds."""
CATALOG = {
    "models": {"opt-s": {"title": "OPT small", "family": "opt", "parameters": 1000}},
    "methods": {
        "icl": {"title": "In context", "family": "in_context", "trained": False, "kind": "icl"},
        "ft": {"title": "Fine-tuned", "family": "full", "trained": True, "kind": "ft"},
    },
    "patterns": {"minimal": {"title": "Minimal"}},
    "tasks": {"nli": {"title": "NLI"}, "probe": {"title": "Probe"}},
    "main": {"k": 15, "selection": "last", "margin": 3},
}


@dataclass(frozen=True)
class Runs:
    """The probe, its runs with the metrics of the same, and all predictions as one frame."""

    probe: EvaluationSet
    jobs: list[dict]
    metrics: pd.DataFrame
    predictions: pd.DataFrame


def probe_set() -> EvaluationSet:
    """Return a probe of twelve occupations with two pairs each, in all words."""
    rows = [
        {"subset": attribute, "group": word, "cluster": f"person{who}"}
        for _ in range(2)
        for who in range(PEOPLE)
        for attribute, words in ATTRIBUTES.items()
        for word in words
    ]
    frame = pd.DataFrame(rows).assign(label=LABELS.index("neutral"), text_a="a", text_b="b")
    frame = frame.assign(id=np.arange(len(frame)) * 2 + 5).astype({"label": "int16"})
    return EvaluationSet("probe", (0, 1, 2), frame, label_names=LABELS)


def write_runs(folder: Path) -> Runs:
    """Write the runs below `folder`: fine-tuned, women are less often neutral than men."""
    probe, jobs, frames, metrics = probe_set(), [], [], []
    rng = np.random.default_rng(5)
    people = rng.normal(0, 0.5, PEOPLE)
    for (method, k), count in CELLS.items():
        run = folder / method / f"k{k}"
        jobs.append({"method": method, "pattern": "minimal", "k": k, "folder": str(run)})
        jobs[-1]["seeds"] = list(range(count))
        found = [_answers(probe, method, k, seed, people, rng) for seed in range(count)]
        frame = pd.concat(found, ignore_index=True)
        storage.write_table(run / "predictions.parquet", frame, schemas.predictions_schema(3))
        frames.append(frame)
        cell = {"method": method, "k": k, "epoch": int(method == "ft")}
        metrics.append(metric_rows([0.5] * count, **cell))
    return Runs(probe, jobs, pd.concat(metrics, ignore_index=True), pd.concat(frames))


def _answers(
    probe: EvaluationSet, method: str, k: int, seed: int, people: np.ndarray, rng
) -> pd.DataFrame:
    rows = probe.rows
    who = rows["cluster"].str.removeprefix("person").astype(int).to_numpy()
    level = {0: -0.3, 15: 0.4}[k] + people[who] + rng.normal(0, 0.3)
    level -= 0.9 * ((method == "ft") & (rows["group"] == "woman").to_numpy())
    scores = rng.normal(0, 0.4, (len(rows), 3))
    scores[:, LABELS.index("neutral")] += level
    predicted = scores.argmax(axis=1)
    names = np.array(LABELS, dtype=object)
    told = {f"logprob_{i}": scores[:, i] - 5 for i in range(3)} | {
        f"tokens_{i}": 1 for i in (0, 1, 2)
    }
    return pd.DataFrame(
        {
            **{"protocol": "fair", "task": "nli", "model": "opt-s", "method": method},
            **{"pattern": "minimal", "k": k, "seed": seed, "epoch": int(method == "ft")},
            **{"last": True, "best": True, "evaluation_set": "probe", "id": rows["id"]},
            **{"label": 1, "gold": "neutral", "predicted": names[predicted]},
            **{"correct": predicted == 1, **told, "logsumexp": 0.0, "argmax_is_label": True},
        }
    )
