"""Make `outcomes.parquet` anew: `python -m golden.recipe` from the project's root."""

from pathlib import Path

import numpy as np
import pandas as pd
import stored
from fewshot.rng import generator

from . import effects, study


def outcomes() -> pd.DataFrame:
    """Return the right rows of every run, kept epoch and set, as packed bits.

    Rows differ in how hard they are, the same for all runs; of each label the easiest are right,
    up to noise of the run's own. How many are right is exact.
    """
    found = []
    for pair in study.pairs():
        for job in pair["jobs"]:
            family = study.family_of(job)
            for seed in job["seeds"]:
                if not effects.fits(pair["task"], family, job["k"], seed):
                    continue
                cell = stored.cell_of(pair, job, seed)
                cell.pop("protocol")
                for epoch in study.epochs_of(job, seed)[1]:
                    for item in pair["evaluation"]:
                        key = {**cell, "epoch": epoch, "evaluation_set": item["set"]}
                        bits = np.packbits(_right_rows(key, family)).tobytes()
                        found.append({**key, "correct": bits})
    return pd.DataFrame(found)[[*study.KEYS, "correct"]]


def _right_rows(key: dict, family: str) -> np.ndarray:
    name = key["evaluation_set"]
    rows = study.prepared(name)
    hard = generator("golden", name).normal(size=len(rows))
    hard = hard + 0.1 * generator("golden", *key.values()).normal(size=len(rows))
    counts = study.right(key, family, key["seed"], key["epoch"], name)
    correct = np.zeros(len(rows), dtype=bool)
    for label, count in counts.items():
        own = np.flatnonzero(rows["label"] == label)
        correct[own[np.argsort(hard[own], kind="stable")[:count]]] = True
    return correct


if __name__ == "__main__":
    path = Path(__file__).parent / "outcomes.parquet"
    outcomes().to_parquet(path, compression="zstd", index=False)
    print(f"{path}: {path.stat().st_size:,} bytes")
