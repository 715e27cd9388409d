"""Metrics and outcomes of single cells, to compare arms without writing runs."""

import numpy as np
import pandas as pd
import simulate
from fewshot.analysis import result_schemas
from fewshot.analysis.comparisons import compare
from fewshot.analysis.pairs import SAME_MODEL
from fewshot.analysis.predictions import pack
from fewshot.data.evaluation_sets import EvaluationSet

ROWS, SEEDS = 40, 6
CATALOG = {
    **simulate.CATALOG,
    "patterns": {"minimal": {"title": "Minimal"}, "gpt-3": {"title": "GPT-3"}},
}


def evaluation(cluster=None):
    rows = {"id": np.arange(ROWS), "label": np.arange(ROWS) % 2, "group": None, "subset": None}
    return EvaluationSet("nli", (0, 1), pd.DataFrame(rows).assign(cluster=cluster))


def arm(model, method, p, *, pattern="minimal", k=16, seeds=range(SEEDS), status="ok", noise=0.1):
    """Return metrics and outcomes of one cell whose seeds answer right with chance p ± noise."""
    frames = [], []
    cell = {"protocol": "fair", "task": "nli", "model": model, "method": method}
    cell |= {"pattern": pattern, "k": k, "evaluation_set": "nli"}
    for seed in seeds:
        rng = np.random.default_rng([seed, k, *f"{model}{method}{pattern}".encode()])
        correct = rng.random(ROWS) < p + rng.uniform(-noise, noise)
        row = cell | {"seed": seed, "epoch": 2, "n": ROWS, "correct": correct.sum()}
        shared = {"domain": "in", "selection": "last", "status": status}
        done = status == "ok"
        accuracy = {"accuracy": correct.mean() if done else np.nan, "n": ROWS if done else 0}
        frames[0].append(row | shared | accuracy)
        frames[1].append(row | {"correct": pack(correct)})
    return pd.DataFrame(frames[0]), pd.DataFrame(frames[1] if status == "ok" else [])


def together(*arms):
    metrics = pd.concat([m for m, _ in arms]).reindex(columns=result_schemas.METRICS.names)
    outcomes = pd.concat([o for _, o in arms if len(o)])
    outcomes = outcomes.reindex(columns=result_schemas.OUTCOMES.names)
    return metrics.reset_index(drop=True), outcomes.reset_index(drop=True)


def compared(*arms, catalog=CATALOG, item=None):
    """Return the comparisons of arms on one set."""
    return compare(*together(*arms), [item or evaluation()], catalog)


def only(frame, family=SAME_MODEL):
    """Return the one comparison of a family."""
    frame = frame[frame["family"] == family]
    assert len(frame) == 1
    return frame.iloc[0]
