"""The metrics of runs as one would compute them with pandas and scikit-learn, block by block."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from fewshot.analysis.evaluation_sets import EvaluationSet
from sklearn import metrics as reference

BINS = 15
NAMES = ["accuracy", "mcc", "f1", "macro_f1", "brier", "ece"]


def of_runs(folders: Iterable[str], sets: Iterable[EvaluationSet]) -> pd.DataFrame:
    """Return the scores NAMES of each pattern, seed, epoch and set of two labels.

    Accuracies by group, subset and label are computed as well, since this project's are.
    """
    parts = pd.concat([item.rows.assign(evaluation_set=item.name) for item in sets])
    parts = parts[["evaluation_set", "id", "group", "subset"]]
    rows = []
    for folder in folders:
        frame = pd.read_parquet(Path(folder, "predictions.parquet"))
        frame["evaluation_set"] = frame["evaluation_set"].astype(str)
        frame["predicted"] = (frame["logprob_1"] > frame["logprob_0"]).astype(int)
        frame["correct"] = frame["predicted"] == frame["label"]
        frame = frame.merge(parts, on=["evaluation_set", "id"], how="left")
        keys = ["seed", "epoch", "evaluation_set"]
        for key, block in frame.groupby(keys):
            row = dict(zip(keys, key, strict=True)) | _scores(block)
            rows.append({"pattern": frame["pattern"].iloc[0], **row})
        for level in (["label"], ["group"], ["group", "label"], ["group", "subset", "label"]):
            frame.groupby([*keys, *level])["correct"].agg(["mean", "size", "sum"])
    return pd.DataFrame(rows)


def _scores(block: pd.DataFrame) -> dict[str, float]:
    gold, predicted = block["label"], block["predicted"]
    words = np.exp(block[["logprob_0", "logprob_1"]].to_numpy(dtype=float))
    shares = words / words.sum(axis=1, keepdims=True)
    confidence = shares.max(axis=1)
    bins = pd.cut(confidence, np.linspace(0, 1, BINS + 1))
    binned = pd.DataFrame({"bin": bins, "confidence": confidence, "correct": block["correct"]})
    grouped = binned.groupby("bin", observed=True)
    gaps = (grouped["correct"].mean() - grouped["confidence"].mean()).abs()
    return {
        "accuracy": reference.accuracy_score(gold, predicted),
        "mcc": reference.matthews_corrcoef(gold, predicted),
        "f1": reference.f1_score(gold, predicted),
        "macro_f1": reference.f1_score(gold, predicted, average="macro"),
        "brier": 2 * reference.brier_score_loss(gold, shares[:, 1]),
        "ece": float((gaps * grouped.size()).sum() / len(block)),
    }
